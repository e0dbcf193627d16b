//! Connects as a device: [`mod@line`] makes the connection, [`relay`] publishes the lines of the input, prints what comes,
//! renews the token and comes back.

mod line;
mod relay;

use tessera_simulators::mqtt::{Incoming, Link};

use super::folder::Folder;
use super::TEST_MESSAGE;
use crate::args::ConnectArgs;
use crate::error::{Fault, Outcome};
use crate::output;
use line::{ended, Line};
use relay::Relay;

pub(super) async fn run(args: ConnectArgs) -> Outcome {
    let folder = Folder::of(&args.folder);
    let line = Line::of(&folder, &args)?;
    let link = line.open().await.map_err(|end| end.told(&folder))?;
    match args.test {
        true => test(&line, link).await,
        false => Relay::new(&line).run(link).await,
    }
}

/// Publishes one message and leaves.
async fn test(line: &Line<'_>, mut link: Link) -> Outcome {
    line.subscribe(&mut link, false).await?;
    let topic = line
        .topic()?
        .ok_or_else(|| Fault::new("the token allows publishing to no single topic"))?;
    link.publish(&topic, true, TEST_MESSAGE.to_vec())?;
    match link.answer().await {
        Incoming::PublishRefused(why) => {
            return Err(Fault::new(format!("refused ({why}): publish to {topic}"))
                .hint("publish_not_authorised: the token's scope does not allow this topic"))
        }
        Incoming::Closed(closed) => return Err(ended(&closed)),
        _ => output::complain(&format!(
            "published a test message to {topic}; the broker acknowledged it"
        )),
    }
    link.close().await;
    Ok(0)
}
