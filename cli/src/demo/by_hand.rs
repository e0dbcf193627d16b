//! The commands that connect a device of the reader's own. They begin in the folder of the demo, where `tessera` and the
//! operator token are, so that they are short.

use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::USUAL_PORTS;
use crate::error::Fault;

/// The data folder inside the demo's folder: operator commands look for their token below it.
pub(super) const DATA: &str = "tessera-data";

/// Puts the binary into the folder, by its name.
pub(super) fn place_binary(folder: &Path) -> Result<(), Fault> {
    let binary = std::env::current_exe()?;
    symlink(&binary, folder.join("tessera"))
        .map_err(|error| Fault::new(format!("{}: {error}", folder.display())))
}

/// The commands, one a line.
pub(super) fn commands(folder: &Path, http: SocketAddr, mqtt: SocketAddr) -> Vec<String> {
    let [usual_mqtt, usual_http, _] = USUAL_PORTS;
    let other = |flag: &str, address: SocketAddr, usual: u16| match address.port() == usual {
        true => String::new(),
        false => format!(" --{flag} {address}"),
    };
    let (http, mqtt) = (other("http", http, usual_http), other("mqtt", mqtt, usual_mqtt));
    vec![
        format!("cd {}", quoted(&folder.display().to_string())),
        format!("CLAIM=$(./tessera claim create --role sensor --plain{http})"),
        format!("./tessera device enrol --device mine --claim $CLAIM{http}"),
        format!("./tessera device connect --dir mine{mqtt}   # publishes your lines"),
        format!("./tessera revoke device mine{http}   # third terminal: cd first"),
    ]
}

/// A word of the shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    match text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn commands_fit_80_columns_and_name_ports_that_are_not_the_usual_ones() {
        let folder = Path::new("/tmp/tessera-demo-0123456789abcdef");
        let usual = commands(folder, at(8080), at(1883));
        assert!(usual.iter().all(|line| !line.contains("127.0.0.1")), "{usual:?}");
        let other = commands(folder, at(43_210), at(43_211));
        assert!(other[1].contains("--http 127.0.0.1:43210"), "{other:?}");
        assert!(other[3].contains("--mqtt 127.0.0.1:43211"), "{other:?}");
        for line in usual.iter().chain(&other) {
            // A comment may be cut, a command may not.
            let command = line.split("   #").next().unwrap();
            assert!(command.len() <= 78, "{command}");
        }
    }

    #[test]
    fn a_folder_is_one_word_of_the_shell() {
        assert_eq!(quoted("/tmp/demo-1"), "/tmp/demo-1");
        assert_eq!(quoted("/tmp/it's here"), r"'/tmp/it'\''s here'");
    }
}
