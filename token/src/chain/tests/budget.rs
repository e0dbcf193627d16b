//! Sizes that a microcontroller's packet buffer depends on.

use super::world::*;

/// Bytes of an MQTT 3.1.1 CONNECT with an empty user name: fixed header 3, variable header 10,
/// client id, user name, password.
fn connect_311(client_id: &str, password: usize) -> usize {
    3 + 10 + 2 + client_id.len() + 2 + 2 + password
}

/// Bytes of an MQTT 5 CONNECT on the `ace` challenge path: properties hold the method and
/// `u16 length, token`.
fn connect_ace(client_id: &str, token: usize) -> usize {
    let properties = 1 + 2 + 3 + 1 + 2 + 2 + token;
    3 + 10 + 2 + properties + 2 + client_id.len()
}

#[test]
fn a_device_token_fits_the_buffers() {
    let token = token_of(&claims()).len();
    println!(
        "token {token}, CONNECT ace {}, connect proof {}",
        connect_ace("s-0042", token),
        connect_311("s-0042", token + 74)
    );
    assert!(token <= 221, "{token}");
    assert!(connect_ace("s-0042", token) <= 256);
    assert!(connect_311("s-0042", token + 74) <= 320);
}

#[test]
fn a_token_with_a_key_id_is_31_bytes_shorter() {
    use crate::claims::ConfirmationForm;
    let token = |form| {
        let token = crate::issue::issue_as(&claims(), form, Default::default(), &issuer());
        token.unwrap().len()
    };
    let kid = token(ConfirmationForm::KeyId);
    println!("kid {kid}, thumbprint {}", token(ConfirmationForm::Thumbprint));
    assert!(kid <= 190, "{kid}");
    assert!(connect_ace("s-0042", kid) <= 256);
    println!(
        "CONNECT ace {}, connect proof {}",
        connect_ace("s-0042", kid),
        connect_311("s-0042", kid + 74)
    );
}

#[test]
fn a_token_with_a_derived_key_and_its_proof_are_the_smallest() {
    let by = crate::pop::DerivationKey::new(&[1; 32], claims().audience).unwrap();
    let token = crate::issue::issue_symmetric(&claims(), &by, Default::default(), &issuer());
    let token = token.unwrap().len();
    println!(
        "token {token}, CONNECT ace {}, connect proof {}",
        connect_ace("s-0042", token),
        connect_311("s-0042", token + 42)
    );
    assert!(token <= 188, "{token}");
    // The whole CONNECT with the connect proof fits, which no other kind of token does with an Ed25519 signature.
    assert!(connect_311("s-0042", token + 42) <= 256);
}
