//! The token of the first operator account: shown at a terminal alone. Output to a pipe ends in logs of service
//! managers and containers.

use std::path::Path;

use tessera_provisioning::FirstStart;

use crate::output;

/// Prints the path of the token; at a terminal, the token too.
pub(crate) fn tell(data: &Path, first: &FirstStart, json: bool) {
    let path = data.join("operator.token");
    let path = path.display();
    match output::is_terminal() && !json {
        true => output::line(&format!(
            "operator token (shown once; also in {path}): {}",
            first.operator_token.expose()
        )),
        false => output::step(json, &format!("operator token: in {path}")),
    }
}
