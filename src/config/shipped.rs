//! Tests of `config/herd.toml`: it is the classic herd, and its comments are true.

use super::setting_lines::{SettingLine, setting_lines};
use super::{Config, ServerConfig, TlsSettings};
use crate::places::PlacesSettings;
use crate::places::google::{FieldMask, GoogleApi};
use crate::{gateway, log, peers, storage};

const SHIPPED: &str = include_str!("../../config/herd.toml");

fn parse(text: &str) -> Config {
    Config::parse(text, "config/herd.toml").unwrap()
}

/// Settings without a default, which the file shows with an example.
const WITHOUT_DEFAULT: [&str; 11] = [
    "file",
    "base_url",
    "fields",
    "ca",
    "certificate",
    "key",
    "clients_certificate",
    "clients_key",
    "token_file",
    "tiles",
    "tiles_attribution",
];

/// Returns the key of a line that shows a default, as in `# key = value`.
fn shown_default(line: &str) -> Option<&str> {
    let (key, _) = line.strip_prefix("# ")?.split_once(" = ")?;
    (!key.contains(' ')).then_some(key)
}

/// Returns the file with every default uncommented.
fn uncommented() -> String {
    let uncomment = |line| match shown_default(line) {
        Some(_) => &line[2..],
        None => line,
    };
    SHIPPED
        .lines()
        .map(uncomment)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Returns the comment that ends in the default of a setting.
fn comment<'a>(text: &'a str, setting: &SettingLine) -> &'a str {
    let table = format!("\n[{}]\n", setting.table);
    let (_, body) = text.split_once(&table).expect("the table exists");
    let body = body.split("\n[").next().unwrap();
    body.split("\n\n")
        .find(|comment| comment.lines().filter_map(shown_default).eq([setting.key]))
        .unwrap_or_else(|| {
            panic!(
                "{} {} has no comment of its own",
                setting.table, setting.key
            )
        })
}

#[test]
fn the_shipped_file_is_the_classic_herd() {
    let config = parse(SHIPPED);
    assert_eq!(config.herd.as_str(), "classic");
    let line = |server: &ServerConfig| {
        let neighbours: Vec<&str> = server.neighbours.iter().map(|name| name.as_str()).collect();
        format!(
            "{} {} {} {}",
            server.name,
            server.clients,
            server.peers,
            neighbours.join(",")
        )
    };
    let servers: Vec<String> = config.servers.iter().map(line).collect();
    assert_eq!(
        servers,
        [
            "Riley 127.0.0.1:12000 127.0.0.1:13000 Jaquez,Juzang",
            "Jaquez 127.0.0.1:12001 127.0.0.1:13001 Riley,Bernard",
            "Juzang 127.0.0.1:12002 127.0.0.1:13002 Riley,Campbell,Bernard",
            "Campbell 127.0.0.1:12003 127.0.0.1:13003 Juzang,Bernard",
            "Bernard 127.0.0.1:12004 127.0.0.1:13004 Jaquez,Juzang,Campbell",
        ]
    );
    assert_eq!(config.warnings(), Vec::<String>::new());
}

#[test]
fn the_shipped_file_and_the_defaults_in_its_comments_change_no_setting() {
    assert_ne!(uncommented(), SHIPPED.trim_end());
    for text in [SHIPPED, &uncommented()] {
        let config = parse(text);
        assert_eq!(config.servers, parse(SHIPPED).servers);
        assert_eq!(config.places, PlacesSettings::default());
        assert_eq!(config.log, log::LogSettings::default());
        assert_eq!(config.log_level, log::DEFAULT_LEVEL);
        assert_eq!(config.clients, gateway::ClientSettings::default());
        assert_eq!(config.web, gateway::WebSettings::default());
        assert_eq!(config.gateway, gateway::GatewaySettings::default());
        assert_eq!(config.peers, peers::PeerSettings::default());
        let dir = Some("state".into());
        let storage = storage::StorageSettings::default();
        assert_eq!(config.storage, storage::StorageSettings { dir, ..storage });
        assert!(!config.insecure);
        assert_eq!(config.tls, TlsSettings::default());
    }
}

#[test]
fn the_examples_of_tls_are_valid_for_every_server() {
    let (before, after) = SHIPPED.split_once("# sets the certificate.").unwrap();
    let (server, after) = after.split_once("\n\n[[servers]]").unwrap();
    let (between, security) = after.split_once("[security]\n").unwrap();
    let uncomment = |text: &str| text.replace("\n#     ", "\n");
    let text = format!(
        "{before}# sets the certificate.{}\n\n[[servers]]{between}[security]\n{}",
        uncomment(server),
        uncomment(security)
    );
    let config = parse(&text);
    for server in &config.servers {
        let plan = config.plan(server);
        let files = plan.tls.unwrap();
        let own = format!("certs/servers/{}.pem", server.name);
        assert_eq!(files.own.certificate.to_str(), Some(&*own));
        assert_eq!(plan.clients_tls.is_some(), server.name.as_str() == "Riley");
    }
}

#[test]
fn every_setting_has_a_comment_that_states_its_bounds_and_costs() {
    for setting in setting_lines(&parse(SHIPPED)) {
        if setting.table == "storage" && setting.key == "dir" {
            // It is set.
            continue;
        }
        if WITHOUT_DEFAULT.contains(&setting.key) {
            assert!(SHIPPED.contains(&format!("\n#     {} = ", setting.key)));
            continue;
        }
        let prose = comment(SHIPPED, &setting).replace("\n# ", " ");
        let Some((least, most)) = &setting.bounds else {
            continue;
        };
        let bounds = format!(" {least} to {most}");
        assert!(prose.contains(&bounds), "{}: {bounds}", setting.key);
        for cost in ["Too low", "Too high"] {
            assert!(prose.contains(cost), "{}: {cost}", setting.key);
        }
    }
}

/// Returns the file with every example of `[places]` uncommented.
fn with_examples() -> String {
    let (before, places) = SHIPPED.split_once("[places]\n").unwrap();
    format!("{before}[places]\n{}", places.replace("\n#     ", "\n"))
}

#[test]
fn the_example_of_fields_lists_all_except_the_expensive_ones() {
    let text = with_examples().replace("[places]\n", "[places]\nprovider = \"google-new\"\n");
    let PlacesSettings::Google(google) = parse(&text).places else {
        panic!("another provider");
    };
    let expensive = [
        "currentOpeningHours",
        "priceLevel",
        "rating",
        "userRatingCount",
    ];
    let cheap = FieldMask::names().filter(|name| !expensive.contains(name));
    assert_eq!(google.api, GoogleApi::New(FieldMask::parse(cheap).unwrap()));
    assert!(google.base_url.is_some());
    let file = Some("places.csv".into());
    let offline = parse(&with_examples()).places;
    assert_eq!(offline, PlacesSettings::Offline { file });
}

#[test]
fn every_default_can_be_changed_within_its_bounds_only() {
    // The settings of Google are kept only where it is the provider.
    let text = uncommented().replace("provider = \"offline\"", "provider = \"google\"");
    for setting in setting_lines(&parse(SHIPPED)) {
        let Some((least, most)) = &setting.bounds else {
            continue;
        };
        let with = |value: &str| {
            let comment = comment(SHIPPED, &setting);
            let line = comment.lines().find(|line| shown_default(line).is_some());
            let number = value.bytes().all(|b| b.is_ascii_digit());
            let quote = if number { "" } else { "\"" };
            let new = format!("{} = {quote}{value}{quote}", setting.key);
            let text = text.replacen(&line.unwrap()[2..], &new, 1);
            Config::parse(&text, "h").map(|config| {
                let lines = setting_lines(&config);
                let mut lines = lines.into_iter();
                lines.find(|line| line.key == setting.key).unwrap().value
            })
        };
        assert_eq!(&with(least).unwrap(), least);
        assert_eq!(&with(most).unwrap(), most);
        let beyond = with(&format!("9{most}")).unwrap_err().to_string();
        assert!(
            beyond.contains(&format!("must be from {least} to {most}")),
            "{beyond}"
        );
    }
}
