//! The optional settings except those of `[places]`: each is named here, once, with its bounds.
//!
//! Defaults are those of the folders that own the types. `config/herd.toml` explains each
//! setting, and a test compares that file with the bounds and defaults here. The types
//! are destructured without `..`, so that a new field cannot be left out.

use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::setting::SettingVisitor;
use super::tls::TlsSettings;
use crate::model::networks::Networks;
use crate::{gateway, log, peers, storage};

/// Visits the settings of `[log]`.
pub(super) fn log(
    on: &mut impl SettingVisitor,
    settings: &mut log::LogSettings,
    level: &mut LevelFilter,
) {
    let log::LogSettings {
        dir,
        format,
        max_bytes,
        keep,
    } = settings;
    on.plain("dir", dir);
    on.plain("format", format);
    on.plain("level", level);
    on.bounded("max_bytes", max_bytes, log::LogSettings::MIN_BYTES..=TIB);
    on.bounded("keep", keep, 0..=log::LogSettings::MAX_KEEP);
}

/// Visits the settings of `[security]`.
pub(super) fn security(on: &mut impl SettingVisitor, insecure: &mut bool, tls: &mut TlsSettings) {
    on.plain("insecure", insecure);
    let TlsSettings {
        ca,
        certificate,
        key,
        clients_certificate,
        clients_key,
    } = tls;
    on.plain("ca", ca);
    on.plain("certificate", certificate);
    on.plain("key", key);
    on.plain("clients_certificate", clients_certificate);
    on.plain("clients_key", clients_key);
}

/// Visits the networks of `[clients]` or `[web]`.
fn networks(on: &mut impl SettingVisitor, networks: &mut Networks) {
    let Networks { allow, deny } = networks;
    on.plain("allow", allow);
    on.plain("deny", deny);
}

/// Visits the settings of `[clients]`.
pub(super) fn clients(
    on: &mut impl SettingVisitor,
    settings: &mut gateway::ClientSettings,
    gateway: &mut gateway::GatewaySettings,
) {
    networks(on, &mut settings.networks);
    on.plain("proxies", &mut settings.proxies);
    on.plain("acknowledge", &mut gateway.acknowledge);
}

/// Visits the settings of `[web]`.
pub(super) fn web(on: &mut impl SettingVisitor, settings: &mut gateway::WebSettings) {
    let gateway::WebSettings {
        networks: from,
        // From the servers of the config.
        servers: _,
        api,
        token_file,
        tls,
        tiles,
        tiles_attribution,
    } = settings;
    networks(on, from);
    on.plain("api", api);
    on.plain("token_file", token_file);
    on.plain("tls", tls);
    on.plain("tiles", tiles);
    on.plain("tiles_attribution", tiles_attribution);
}

/// Visits the settings of `[limits]`.
pub(super) fn limits(
    on: &mut impl SettingVisitor,
    clients: &mut gateway::ClientSettings,
    gateway: &mut gateway::GatewaySettings,
) {
    let gateway::ClientSettings {
        max_line,
        max_connections,
        networks: _,
        proxies: _,
        connections_per_address,
        commands_per_second,
        idle,
        write,
        max_waiting,
    } = clients;
    // The longest valid command without superfluous white space has 360 bytes.
    on.bounded("max_line", max_line, 512..=MIB);
    on.bounded("max_connections", max_connections, 1..=1_000_000);
    on.bounded_or_off(
        "connections_per_address",
        connections_per_address,
        1..=1_000_000,
    );
    on.bounded_or_off("commands_per_second", commands_per_second, 1..=1_000_000);
    on.bounded("idle", idle, millis(100)..=days(30));
    on.bounded("write", write, millis(100)..=secs(3600));
    on.bounded("max_waiting", max_waiting, 1..=1000);
    let gateway::GatewaySettings {
        max_future,
        max_clients,
        acknowledge: _,
        expire_after,
        purge_delay: _,
    } = gateway;
    on.bounded("max_future", max_future, secs(1)..=years(100));
    on.bounded("max_clients", max_clients, 1..=1_000_000_000);
    on.bounded_or_off("expire_after", expire_after, secs(1)..=years(100));
}

/// Visits the settings of `[storage]`.
pub(super) fn storage(on: &mut impl SettingVisitor, settings: &mut storage::StorageSettings) {
    let storage::StorageSettings { dir, sync } = settings;
    on.plain("dir", dir);
    on.bounded("sync", sync, millis(10)..=secs(60));
}

/// Visits the settings of `[flooding]`.
pub(super) fn flooding(on: &mut impl SettingVisitor, settings: &mut peers::PeerSettings) {
    let peers::PeerSettings {
        heartbeat,
        attempt,
        retries,
        backoff_cap,
        keep_alive,
        keep_alive_timeout,
        linger,
        anti_entropy,
        batch_reports,
        max_pushes,
        drain,
    } = settings;
    let waits = || millis(100)..=secs(60);
    on.bounded("heartbeat", heartbeat, millis(10)..=secs(10));
    on.bounded("attempt", attempt, waits());
    on.bounded("retries", retries, 0..=10);
    on.bounded("backoff_cap", backoff_cap, millis(50)..=secs(60));
    on.bounded("keep_alive", keep_alive, waits());
    on.bounded("keep_alive_timeout", keep_alive_timeout, waits());
    on.bounded("linger", linger, millis(0)..=secs(1));
    on.bounded_or_off("anti_entropy", anti_entropy, millis(100)..=secs(86_400));
    on.bounded("batch_reports", batch_reports, 1..=10_000);
    on.bounded("max_pushes", max_pushes, 1..=10_000);
    on.bounded("drain", drain, secs(0)..=secs(60));
}

const MIB: usize = 1 << 20;
const TIB: u64 = 1 << 40;

const fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

const fn secs(number: u64) -> Duration {
    Duration::from_secs(number)
}

const fn days(number: u64) -> Duration {
    secs(number * 86_400)
}

/// Returns years of 365.25 days, as humantime reads them.
const fn years(number: u64) -> Duration {
    secs(number * 31_557_600)
}
