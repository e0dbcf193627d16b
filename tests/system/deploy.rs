//! `docs/deploy.md`: three processes over TLS, pasted as written.

use super::readme::paste;

#[test]
fn deploy_page_pasted_shows_what_it_promises() {
    paste("docs/deploy.md", true);
}
