//! `tessera device key`: the public key of a folder, for an operator to list or to compare.

use serde_json::json;
use tessera_runtime::random::SystemRandom;
use tessera_token::encoding::base64url;

use super::folder::Folder;
use crate::args::KeyArgs;
use crate::error::Outcome;
use crate::output;

pub(super) fn run(args: &KeyArgs) -> Outcome {
    let folder = Folder::create(&args.dir)?;
    let public = folder.key_or_new(&SystemRandom)?.public();
    let (key, thumbprint) =
        (base64url(public.as_bytes()), base64url(public.thumbprint().as_bytes()));
    if args.thumbprint {
        output::line(&thumbprint);
        return Ok(0);
    }
    let text = format!("key         {key}\nthumbprint  {thumbprint}");
    output::result(args.json, &text, &json!({ "key": key, "thumbprint": thumbprint }));
    Ok(0)
}
