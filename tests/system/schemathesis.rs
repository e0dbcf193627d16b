//! The service against its own OpenAPI document, by another hand: schemathesis makes requests from the document, right ones
//! and wrong ones, and compares every answer with it.

use std::process::Command;

use tessera_tests::process::{root, run};
use tessera_tests::server::Server;

/// Requests for each operation and phase beside those of the fixed lists: enough for every rule of the document.
const EXAMPLES: &str = "12";

#[test]
fn schemathesis_finds_nothing() {
    let program = root().join("tests/.venv/bin/schemathesis");
    assert!(program.exists(), "{} is not there: run tests/run", program.display());
    let server = Server::start();
    let clients = root().join("tests/clients/schemathesis");
    let tokens = [("operator", server.operator_token()), ("feed", feed_token(&server))];
    let version = run(Command::new(&program).arg("--version")).1;
    for (who, token) in tokens {
        let (good, output) = run(Command::new(&program)
            // It leaves files where it is started.
            .current_dir(server.folder.path())
            .env("SCHEMATHESIS_HOOKS", "hooks")
            .env("PYTHONPATH", &clients)
            .arg("--config-file")
            .arg(clients.join("schemathesis.toml"))
            .arg("run")
            .arg(format!("http://{}/openapi.json", server.http))
            .args(["--header", &format!("Authorization: Bearer {token}")])
            // Both accounts live on until the end.
            .args(["--exclude-path", "/v1/operators/{operator}"])
            // A stream that does not end by itself.
            .args(["--exclude-path", "/v1/events"])
            // It makes no lines of JSON.
            .args(["--exclude-path", "/v1/tenants/{tenant}/import/devices"])
            .args(["--exclude-path", "/v1/tenants/{tenant}/import/claims"])
            .args(["--seed", "20261128", "--max-examples", EXAMPLES, "--no-color"])
            .args(["--generation-database", "none"]));
        let cases = output.lines().find(|line| line.contains(" generated, ")).unwrap_or("");
        println!("{}, as {who}: {}", version.trim(), cases.trim());
        assert!(good && cases.contains(" generated, "), "as {who}:\n{output}");
    }
    server.stop();
}

fn feed_token(server: &Server) -> String {
    std::fs::read_to_string(server.data().join("feed.token")).unwrap().trim().to_owned()
}
