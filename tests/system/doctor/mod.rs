//! `tessera device doctor` names one cause and one thing to do, for each kind of fault.

mod home;
mod password;
mod rights;
mod strangers;
mod way;

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tessera_tests::process::{run, tessera};
use tessera_tests::server::Device;

/// Output of a doctor.
struct Said {
    pub(super) well: bool,
    pub(super) text: String,
    pub(super) json: Value,
}

fn doctor(folder: &Path, mqtt: &str, more: &[&str]) -> Said {
    let (well, text) = run(Command::new(tessera())
        .args(["device", "doctor", "--json", "--mqtt", mqtt, "--dir"])
        .arg(folder)
        .args(more)
        .env_remove("TESSERA_CAFILE"));
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}"));
    assert_eq!(json["well"], well, "{text}");
    assert!(json["steps"].is_array() && json["cause"].is_string() && json["do"].is_string());
    Said { well, text, json }
}

impl Said {
    pub(super) fn code(&self) -> &str {
        self.json["code"].as_str().unwrap_or_default()
    }

    pub(super) fn cause(&self) -> &str {
        self.json["cause"].as_str().unwrap()
    }

    pub(super) fn remedy(&self) -> &str {
        self.json["do"].as_str().unwrap()
    }

    #[track_caller]
    pub(super) fn names(&self, code: &str, cause: &str, remedy: &str) {
        assert!(!self.well, "{}", self.text);
        assert_eq!(self.code(), code, "{}", self.text);
        assert!(self.cause().contains(cause) && self.remedy().contains(remedy), "{}", self.text);
    }

    pub(super) fn of(device: &Device, more: &[&str]) -> Self {
        doctor(&device.folder, &device.mqtt.to_string(), more)
    }
}

trait TokenText {
    fn token_text(&self) -> String;
}

impl TokenText for Device {
    /// The token in the folder.
    fn token_text(&self) -> String {
        let text = fs::read_to_string(self.folder.join("token.json")).unwrap();
        let stored: Value = serde_json::from_str(&text).unwrap();
        stored["token"].as_str().unwrap().to_owned()
    }
}
