//! The example of a program that has sandboxes of its own, as a person runs it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::process::Command;

#[test]
fn a_program_launches_by_a_settings_file_and_is_told_what_was_refused() {
    // target/debug/deps/NAME-HASH
    let test = std::env::current_exe().unwrap();
    let example = test.parent().unwrap().with_file_name("examples/embed");
    assert!(
        example.exists(),
        "{} is not there: cargo build --examples",
        example.display()
    );
    let jail = srt_tests::built("srt-jail");
    let room = tempfile::tempdir().unwrap();
    let work = room.path().join("work");
    std::fs::create_dir(&work).unwrap();
    std::fs::write(work.join("notes.txt"), "notes\n").unwrap();
    std::fs::write(work.join(".env"), "secret\n").unwrap();
    let settings = room.path().join("settings.json");
    std::fs::write(
        &settings,
        r#"{ "filesystem": { "mode": "minimal", "denyRead": [".env"] }, "network": { "allowedDomains": [] } }"#,
    )
    .unwrap();
    let script = "cat notes.txt .env; read word; echo $word; getent hosts denied.example; exit 3";
    let run = |mut command: Command| {
        command.current_dir(&work).env("HOME", room.path());
        let typed = work.join("../typed");
        std::fs::write(&typed, "typed\n").unwrap();
        command.stdin(std::fs::File::open(typed).unwrap());
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let mut bare = Command::new("sh");
    bare.args(["-c", script]);
    let (_, said, _) = run(bare);
    assert_eq!(said, "notes\nsecret\ntyped\n");

    let mut embed = Command::new(&example);
    embed.arg(&jail).arg(&settings);
    embed.args(["sh", "-c", script]);
    let (code, said, told) = run(embed);
    assert_eq!(said, "notes\ntyped\n", "{told}");
    assert_eq!(code, Some(3), "{told}");
    assert!(
        told.contains("refused: reading ") && told.contains("/work/.env: "),
        "{told}"
    );
    assert!(told.contains("refused: denied.example"), "{told}");

    // What cannot be used is told with its place.
    std::fs::write(&settings, "{ \"netwrk\": {} }").unwrap();
    let mut embed = Command::new(&example);
    embed.arg(&jail).arg(&settings).arg("true");
    let (code, _, told) = run(embed);
    assert_eq!(code, Some(1));
    assert!(
        told.contains("settings.json:1:3: unknown key netwrk"),
        "{told}"
    );
}
