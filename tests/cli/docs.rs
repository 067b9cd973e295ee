//! The examples of README.md and docs/. A console block whose commands are all known here
//! is run, and its output compared with the page: `...` in a page stands for any lines.
//! Blocks of other tools, or of a herd in a special situation, are not run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use snapbox::Assert;

use crate::common::{CLASSIC, LIMIT, Process, Site, eventually, within};

/// Commands that need no running herd. They run with the shipped config.
const WITHOUT_HERD: [&str; 3] = [
    "proxyherd check",
    "proxyherd certs",
    "proxyherd plan edge-{1..12} -o edge.toml",
];

/// One command of a console block.
struct Example {
    page: PathBuf,
    command: String,
    output: String,
}

/// Returns the examples of all pages.
fn examples() -> Vec<Example> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap();
    let paths = docs.map(|entry| entry.unwrap().path());
    let mut pages: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|it| it == "md"))
        .collect();
    pages.push(root.join("README.md"));
    pages.iter().flat_map(|page| examples_of(page)).collect()
}

fn examples_of(page: &Path) -> Vec<Example> {
    let text = fs::read_to_string(page).unwrap();
    let blocks = text.split("```console\n").skip(1);
    let blocks = blocks.filter_map(|rest| Some(rest.split_once("```")?.0));
    let commands = blocks.flat_map(|block| block.split("$ ").skip(1));
    let example = |example: &str| {
        let (command, output) = example.split_once('\n').unwrap();
        Example {
            page: page.to_owned(),
            command: command.to_owned(),
            output: output.to_owned(),
        }
    };
    commands.map(example).collect()
}

/// Compares an output with its page. The skew of an AT line and the times of certificates
/// are different in each run.
#[track_caller]
fn assert_output(example: &Example, actual: &str) {
    let mut expected = String::new();
    for line in example.output.lines() {
        let mut words: Vec<&str> = line.split(' ').collect();
        if words[0] == "AT" {
            words[2] = "+[..]";
        } else if let Some(i) = words.iter().position(|&word| word == "until") {
            words[i + 1] = "[..]";
        }
        expected += &(words.join(" ") + "\n");
    }
    let page = example.page.display();
    println!("{page}: {}", example.command);
    Assert::new().eq(actual, expected);
}

#[test]
fn commands_that_need_no_herd_print_what_the_pages_say() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/herd.toml");
    let mut count = 0;
    for example in examples() {
        if !WITHOUT_HERD.contains(&example.command.as_str()) {
            continue;
        }
        let site = Site::new((&["Riley"], &[]), "");
        fs::create_dir(site.path("config")).unwrap();
        fs::copy(&config, site.path("config/herd.toml")).unwrap();
        let arguments: Vec<&str> = example.command.split(' ').skip(1).collect();
        let ended = Process::run(&mut site.command_alone(&arguments));
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert_output(&example, &ended.stdout);
        count += 1;
    }
    assert_eq!(count, WITHOUT_HERD.len());
}

#[test]
fn clients_get_the_answers_that_the_pages_show() {
    let make = || Site::with_built_in_places(CLASSIC, "");
    let (site, process) = Site::start(make, |site| site.run(&["up"]));
    // A debug build on a busy machine needs long for the built-in places.
    within(LIMIT * 5, "the places are loaded", || {
        let stderr = process.stderr();
        stderr.contains(" places are loaded\n").then_some(())
    });
    let mut count = 0;
    for example in examples() {
        let Some((print, address)) = example.command.split_once(" | nc -N 127.0.0.1 ") else {
            continue;
        };
        let server = address.parse::<usize>().unwrap() - 12_000;
        let lines = Command::new("sh").args(["-c", print]).output().unwrap();
        let answer = eventually("the report is known", || {
            let mut client = site.client(CLASSIC.0[server]);
            let answer = client.send(&lines.stdout).half_close().rest();
            let answer = String::from_utf8(answer).unwrap();
            answer.starts_with("AT ").then_some(answer)
        });
        assert_output(&example, &answer);
        count += 1;
    }
    assert_eq!(count, 2);
}
