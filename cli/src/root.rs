//! `tessera root`: other root keys, by a link that the present ones sign. The signature of the offline root is made on a
//! machine without network: requests and signed requests are files.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use serde_json::{json, Value};
use tessera_provisioning::{
    root_accept, root_request, DatabaseSettings, OfflineRoot, RootAccepted, RootChange,
};
use tessera_runtime::clock::SystemClock;
use tessera_runtime::random::{self, SystemRandom};
use tessera_runtime::secret::{read_secret_file, write_secret_file, Secret};
use tessera_token::encoding::hex;
use tessera_token::key::{SecretKey, Thumbprint};
use tessera_token::trust::{RootLink, RootRequest, RootStep, TrustError};

use crate::args::{DatabaseArgs, RootCommand, RootRequestArgs};
use crate::config::RawDatabase;
use crate::error::{Fault, Outcome};
use crate::output;
use crate::secrets::{read_root_request as read, read_thumbprint};
use crate::time::utc;

pub(crate) async fn run(command: RootCommand) -> Outcome {
    match command {
        RootCommand::New { out, json } => new(&out, json),
        RootCommand::Request(args) => request(&args).await,
        RootCommand::Sign { request, key, out, yes, json } => {
            sign(&request, &key, &out, Answer { yes, json })
        }
        RootCommand::Accept { request, data, database, seed_lost, json } => {
            let asked = Accept { request: &request, data: &data, seed_lost, json };
            accept(asked, &database).await
        }
    }
}

fn new(out: &Path, json: bool) -> Outcome {
    is_new(out)?;
    let seed = Secret::new(random::bytes::<32>(&SystemRandom)?);
    let key = SecretKey::from_seed(seed.expose());
    write_secret_file(out, key.expose_seed().as_slice())?;
    let name = text_of(&key.public().thumbprint());
    output::result(json, &name, &json!({ "thumbprint": name, "file": out }));
    Ok(0)
}

async fn request(args: &RootRequestArgs) -> Outcome {
    is_new(&args.out)?;
    let offline = match (&args.offline, args.no_offline) {
        (Some(given), _) => OfflineRoot::Key(read_thumbprint(given)?),
        (None, true) => OfflineRoot::None,
        (None, false) => OfflineRoot::Same,
    };
    let (keeps_online, compromised) = (args.keep_online, args.compromised);
    let change = RootChange { keeps_online, offline, compromised, seed_lost: args.seed_lost };
    let behind = args.behind.as_deref().map(read).transpose()?;
    let (settings, clock) = (settings_of(&args.database)?, SystemClock::shared());
    let asked = (change, behind.as_ref());
    let made = root_request(&args.data, settings.as_ref(), asked, &clock, &SystemRandom).await?;
    write(&args.out, &made.to_cbor())?;
    let missing = made.link.missing();
    let file = args.out.display();
    let next = match missing.is_empty() {
        true => format!(
            "no offline root has to sign: tessera root accept {file} --data {}",
            args.data.display()
        ),
        false => format!(
            "on the machine of the offline root: tessera root sign {file} --key FILE --out SIGNED"
        ),
    };
    let text = format!("{}\n{next}", shown(made.link.step()));
    let missing: Vec<String> = missing.iter().map(text_of).collect();
    let object = json!({ "change": object_of(made.link.step()), "missing": missing });
    output::result(args.json, &text, &object);
    Ok(0)
}

/// The words of the command line about a signature.
struct Answer {
    yes: bool,
    json: bool,
}

fn sign(file: &Path, key: &Path, out: &Path, answer: Answer) -> Outcome {
    is_new(out)?;
    let mut request = read(file)?;
    let seed = read_secret_file(key)?;
    let seed: &[u8; 32] = seed.expose().as_slice().try_into().map_err(|_| {
        Fault::new(format!("{} holds no root key", key.display()))
            .hint("`tessera root new` makes one")
    })?;
    let key = SecretKey::from_seed(seed);
    let (step, own) = (*request.link.step(), key.public().thumbprint());
    let begins = request.begins().map_err(|error| {
        let file = file.display();
        Fault::new(format!("{file}: nothing is signed: {}", why_not(error)))
            .hint("have the request made anew with `tessera root request` where provisioning runs")
    })?;
    let is_offline = [step.from.offline, step.to.offline].contains(&Some(own));
    if !is_offline || !request.link.sign(&key) {
        return Err(Fault::new(format!(
            "the request asks for no signature of this key, {}",
            text_of(&own)
        ))
        .hint("it asks for those of the offline roots that it shows: compare the thumbprints"));
    }
    let place = match step.from.offline == Some(own) {
        true => "the offline root that decides",
        false => "the next offline root",
    };
    let first = first_of(&request)?;
    let line = format!(
        "a line of {} links from the first root {} to the present set is whole\n{}\nthis key, {}, is {place}",
        begins.number(),
        text_of(&first),
        shown(&step),
        text_of(&own)
    );
    output::step(answer.json, &line);
    if !answer.yes {
        return Err(Fault::new("nothing is signed yet")
            .hint("compare the thumbprints with the people of the service, and add --yes"));
    }
    write(out, &request.to_cbor())?;
    let missing: Vec<String> = request.link.missing().iter().map(text_of).collect();
    let text = match missing.as_slice() {
        [] => format!("signed: tessera root accept {} --data DIR", out.display()),
        missing => format!("signed; these keys have to sign too: {}", missing.join(" ")),
    };
    let object = json!({ "change": object_of(&step), "missing": missing });
    output::result(answer.json, &text, &object);
    Ok(0)
}

/// The words of the command line about an acceptance.
struct Accept<'a> {
    request: &'a Path,
    data: &'a Path,
    seed_lost: bool,
    json: bool,
}

async fn accept(asked: Accept<'_>, database: &DatabaseArgs) -> Outcome {
    let Accept { request, data, seed_lost, json } = asked;
    let request = read(request)?;
    let (settings, clock) = (settings_of(database)?, SystemClock::shared());
    let signed = (&request, seed_lost);
    let taken = root_accept(data, settings.as_ref(), signed, &clock, &SystemRandom).await?;
    let RootAccepted { number, roots, again } = taken;
    let online = text_of(&roots.online);
    let text = match again {
        true => format!("root set {number} was accepted before: the online root is {online}"),
        false => format!(
            "accepted: root set {number}. From the next start on {online} signs, and brokers and agents follow by themselves. \
             Make a backup: an older one has the former root"
        ),
    };
    let offline = roots.offline.as_ref().map(text_of);
    let object = json!({ "number": number, "online": online, "offline": offline, "again": again });
    output::result(json, &text, &object);
    Ok(0)
}

/// The root with which the line begins.
fn first_of(request: &RootRequest) -> Result<Thumbprint, Fault> {
    let Some(first) = request.links.first() else {
        return Ok(request.link.step().from.online);
    };
    let first = RootLink::from_cbor(first).map_err(|error| Fault::new(error.to_string()))?;
    Ok(first.step().from.online)
}

fn why_not(error: TrustError) -> String {
    match error {
        TrustError::Order => "the change does not begin at the end of its line of links".to_owned(),
        TrustError::Signature => {
            "an online root that has to sign has not signed, or a signature is wrong".to_owned()
        }
        error => error.to_string(),
    }
}

fn shown(step: &RootStep) -> String {
    let name = |key: Option<&Thumbprint>| key.map_or_else(|| "none".to_owned(), text_of);
    let why = match step.compromised {
        true => "the online root before may be in other hands",
        false => "a change without a known theft",
    };
    format!(
        "root set {}, written {}: {why}\n  online   {}\n       ->  {}\n  offline  {}\n       ->  {}",
        step.number,
        utc(step.time.get()),
        text_of(&step.from.online),
        text_of(&step.to.online),
        name(step.from.offline.as_ref()),
        name(step.to.offline.as_ref()),
    )
}

fn object_of(step: &RootStep) -> Value {
    let set = |roots: &tessera_token::trust::Roots| json!({ "online": text_of(&roots.online), "offline": roots.offline.as_ref().map(text_of) });
    json!({
        "number": step.number,
        "time": step.time.get(),
        "compromised": step.compromised,
        "from": set(&step.from),
        "to": set(&step.to),
    })
}

/// As in `root.thumbprint`.
fn text_of(key: &Thumbprint) -> String {
    hex::encode(key.as_bytes())
}

fn settings_of(args: &DatabaseArgs) -> Result<Option<DatabaseSettings>, Fault> {
    let mut raw = RawDatabase::default();
    raw.with(args);
    raw.validate()
}

fn is_new(out: &Path) -> Result<(), Fault> {
    match out.exists() {
        true => {
            Err(Fault::new(format!("{} is there already", out.display())).hint("name a new file"))
        }
        false => Ok(()),
    }
}

/// A new file; it holds no secret.
fn write(out: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let written = OpenOptions::new().write(true).create_new(true).open(out).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| Fault::new(format!("{}: {error}", out.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_token::time::UnixSeconds;
    use tessera_token::trust::{RootLink, RootSet, Roots};

    const TIME: UnixSeconds = UnixSeconds::new(1_800_000_000);

    fn roots(online: u8, offline: Option<Thumbprint>) -> Roots {
        Roots { online: key(online).public().thumbprint(), offline }
    }

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    #[test]
    fn a_request_is_signed_by_the_key_that_it_asks_for_when_that_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (file, offline, other) = (at("request"), at("offline"), at("other"));
        assert_eq!(new(&offline, false).unwrap(), 0);
        assert_eq!(new(&other, false).unwrap(), 0);
        assert!(new(&offline, false).is_err(), "it overwrites no key");
        let seed = read_secret_file(&offline).unwrap();
        let seed: [u8; 32] = seed.expose().as_slice().try_into().unwrap();
        let name = SecretKey::from_seed(&seed).public().thumbprint();
        let online = key(1).public().thumbprint();
        let set = RootSet::pinned(Roots { online, offline: None });
        let to = Roots { online, offline: Some(name) };
        let mut link = RootLink::new(set.next(to, TIME, false));
        let unsigned = RootRequest { links: Vec::new(), link: link.clone() };
        assert!(link.sign(&key(1)));
        // The offline root decides already in a set that no line leads to.
        let own = Roots { online, offline: Some(name) };
        let mut forged = RootLink::new(RootSet::pinned(own).next(roots(2, Some(name)), TIME, true));
        assert!(forged.sign(&key(2)));
        let forged = RootRequest { links: Vec::new(), link: forged };
        // The next online root has not signed that it is there.
        let absent = RootLink::new(set.next(roots(2, Some(name)), TIME, false));
        let absent = RootRequest { links: Vec::new(), link: absent };
        for (place, bad) in [unsigned, forged, absent].iter().enumerate() {
            let file = at(&format!("bad{place}"));
            write(&file, &bad.to_cbor()).unwrap();
            let refused = sign(&file, &offline, &at("bad"), Answer { yes: true, json: false });
            assert!(refused.unwrap_err().to_string().contains("nothing is signed"), "{place}");
        }
        assert!(!at("bad").exists());
        let asked = RootRequest { links: Vec::new(), link };
        write(&file, &asked.to_cbor()).unwrap();
        let signed = |name: &str, key: &Path, yes: bool| {
            sign(&file, key, &at(name), Answer { yes, json: false })
        };
        assert!(signed("a", &other, true)
            .unwrap_err()
            .to_string()
            .contains("no signature of this"));
        assert!(signed("b", &offline, false)
            .unwrap_err()
            .to_string()
            .contains("nothing is signed"));
        assert!(!at("a").exists() && !at("b").exists());
        assert_eq!(signed("c", &offline, true).unwrap(), 0);
        let signed = read(&at("c")).unwrap();
        assert_eq!(signed.link.missing(), []);
        assert!(set.step(&signed.link).is_ok());
        let text = shown(signed.link.step());
        assert!(text.contains(&text_of(&name)) && text.contains(&text_of(&online)), "{text}");
        assert!(read(&offline).unwrap_err().to_string().contains("no root request"));
    }
}
