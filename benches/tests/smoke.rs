//! The benches run, whatever the figures: a bench that is only tried before a release is broken by then.

use std::process::Command;

#[test]
fn every_bench_measures_its_baseline() {
    let output = Command::new(env!("CARGO_BIN_EXE_srt-benches"))
        .args(["--baseline", "--quick"])
        .output()
        .unwrap();
    let (said, complained) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{complained}");
    for title in [
        "## Launch",
        "## Messages",
        "## Session, calls",
        "## Session, notifications",
        "## Session, 4 at once",
        "## Egress",
        "## Store",
        "## Query",
        "the figures mean nothing",
    ] {
        assert!(said.contains(title), "no {title:?} in:\n{said}");
    }
    // Each way that needs no daemon has its row, with a figure in it.
    for row in [
        "| bare ",
        "| plain bwrap ",
        "| keep-alive, 16 connections ",
        "| record, 4096 callers wait ",
        "| who-touched GITHUB_TOKEN ",
    ] {
        let line = said.lines().find(|line| line.starts_with(row));
        assert!(
            line.is_some_and(|line| line.contains(|c: char| c.is_ascii_digit())),
            "{row}: {line:?}"
        );
    }
}

#[test]
fn what_is_missing_is_named_with_the_remedy() {
    let output = Command::new(env!("CARGO_BIN_EXE_srt-benches"))
        .args(["launch", "--bin-dir", "/nowhere"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        complained.contains("/nowhere/srt is not there\nhint: cargo build --release"),
        "{complained}"
    );
}
