//! Writes the man pages and the completions of shells into a directory:
//! `cargo run --features manual --example manual -- DIRECTORY`.
//!
//! They are made from the arguments that the program parses. As an example it costs the program
//! itself nothing.

use std::env;
use std::error::Error;
use std::fs;
use std::path::Path;

use clap::{Command, ValueEnum};
use clap_complete::Shell;

/// The shells with completions.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        return Err("one argument is required: the directory to write into".into());
    };
    write(Path::new(&directory))
}

/// Writes `man1/*.1`, and a directory of each shell's name with its completions.
fn write(directory: &Path) -> Result<(), Box<dyn Error>> {
    let man = directory.join("man1");
    fs::create_dir_all(&man)?;
    clap_mangen::generate_to(command(), &man)?;
    for shell in SHELLS {
        let name = shell.to_possible_value().ok_or("a shell without a name")?;
        let directory = directory.join(name.get_name());
        fs::create_dir_all(&directory)?;
        clap_complete::generate_to(shell, &mut command(), "proxyherd", &directory)?;
    }
    Ok(())
}

fn command() -> Command {
    proxyherd::cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_a_completion_in_each_shell() {
        let directory = env::temp_dir().join(format!("proxyherd-manual-{}", std::process::id()));
        write(&directory).unwrap();
        let read = |name: &str| fs::read_to_string(directory.join(name)).expect(name);
        let completions = [
            "bash/proxyherd.bash",
            "zsh/_proxyherd",
            "fish/proxyherd.fish",
        ];
        let completions = completions.map(read);
        let main = read("man1/proxyherd.1");
        let command = command();
        assert!(command.get_subcommands().count() > 10);
        for subcommand in command.get_subcommands() {
            let name = subcommand.get_name();
            let page = read(&format!("man1/proxyherd-{name}.1"));
            for option in subcommand.get_arguments().filter_map(|it| it.get_long()) {
                let option = option.replace('-', "\\-");
                assert!(
                    page.contains(&format!("\\-\\-{option}")),
                    "{name}: {option}"
                );
            }
            assert!(main.contains(&format!("proxyherd\\-{name}(1)")), "{name}");
            for completion in &completions {
                assert!(completion.contains(name), "{name}");
            }
        }
        assert!(directory.join("man1/proxyherd-certs-operator.1").exists());
        fs::remove_dir_all(&directory).unwrap();
    }
}
