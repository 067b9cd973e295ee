//! The methods of the peer port, and what one call of each may hold.

use crate::wire::MAX_PUSH_BYTES;

/// Maximum size of a greeting: two names, a herd, and a few numbers.
const MAX_GREETING_BYTES: usize = 4 * 1024;

/// Maximum size of an operator's request: two client IDs and the maximum number of ranges.
const MAX_QUERY_BYTES: usize = 16 * 1024;

/// Maximum size of an import: the changes of a push, and what is around them.
const MAX_IMPORT_BYTES: usize = MAX_PUSH_BYTES + 16;

/// Maximum size of a message to health and reflection: the name of a service or symbol.
const MAX_NAME_BYTES: usize = 4 * 1024;

/// Bytes that are reserved for an answer that may be long: gRPC clients accept 4 MiB by
/// default, and services keep below that.
const MAX_ANSWER_BYTES: u32 = 4 << 20;

/// The group of a method. Each has its own limit on concurrent calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MethodGroup {
    /// `Propagate`, which only servers may call.
    Propagate,
    /// Other services of this project.
    Operator,
    /// Health and reflection, and what no service has.
    Common,
}

/// What one call of a method may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Method {
    pub(super) group: MethodGroup,
    /// Whether only servers may call it, since it changes reports.
    pub(super) is_for_servers: bool,
    /// Maximum size of a message of the request, in bytes.
    pub(super) max_message_bytes: usize,
    /// Bytes that an answer takes of its connection's budget; 0 for small ones.
    pub(super) answer_bytes: u32,
    /// True if a call counts as under way until its answer was read. The streams of
    /// `Push`, `Watch` and `Export` stand for long, and have their own limits.
    pub(super) counts_until_read: bool,
}

impl Method {
    /// Returns the method that the path of a request names.
    pub(super) fn of(path: &str) -> Self {
        let own = path.strip_prefix("/proxyherd.v1.");
        let (service, name) = own.and_then(|own| own.split_once('/')).unwrap_or_default();
        let (group, max_message_bytes, answer_bytes) = match (service, name) {
            ("Propagate", "Push") => (MethodGroup::Propagate, MAX_PUSH_BYTES, 0),
            ("Propagate", "Greet") => (MethodGroup::Propagate, MAX_GREETING_BYTES, 0),
            ("Propagate", _) => (MethodGroup::Propagate, MAX_QUERY_BYTES, MAX_ANSWER_BYTES),
            ("Operator", "Import") => (MethodGroup::Operator, MAX_IMPORT_BYTES, 0),
            ("Operator", "GetStatus" | "Locate" | "Watch" | "Export") => {
                (MethodGroup::Operator, MAX_QUERY_BYTES, 0)
            }
            ("Operator", _) => (MethodGroup::Operator, MAX_QUERY_BYTES, MAX_ANSWER_BYTES),
            _ => (MethodGroup::Common, MAX_NAME_BYTES, 0),
        };
        Self {
            group,
            is_for_servers: group == MethodGroup::Propagate
                || (service, name) == ("Operator", "Import"),
            max_message_bytes,
            answer_bytes,
            counts_until_read: !matches!(
                (service, name),
                ("Propagate", "Push") | ("Operator", "Watch" | "Export")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_has_its_own_limits_and_unknown_ones_the_lowest() {
        let limits = |path: &str| {
            let method = Method::of(path);
            let Method {
                group,
                is_for_servers,
                max_message_bytes,
                answer_bytes,
                counts_until_read,
            } = method;
            let limits = (group, max_message_bytes, answer_bytes, counts_until_read);
            (limits, is_for_servers)
        };
        use MethodGroup::{Common, Operator, Propagate};
        for (path, expected) in [
            ("/proxyherd.v1.Propagate/Greet", (Propagate, 4096, 0, true)),
            (
                "/proxyherd.v1.Propagate/Push",
                (Propagate, 1 << 20, 0, false),
            ),
            (
                "/proxyherd.v1.Operator/GetStatus",
                (Operator, 16_384, 0, true),
            ),
            ("/proxyherd.v1.Operator/Watch", (Operator, 16_384, 0, false)),
            (
                "/proxyherd.v1.Operator/ListClients",
                (Operator, 16_384, 4 << 20, true),
            ),
            (
                "/proxyherd.v1.Operator/Export",
                (Operator, 16_384, 0, false),
            ),
            (
                "/proxyherd.v1.Operator/Import",
                (Operator, (1 << 20) + 16, 0, true),
            ),
            ("/grpc.health.v1.Health/Watch", (Common, 4096, 0, true)),
            (
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                (Common, 4096, 0, true),
            ),
            ("/", (Common, 4096, 0, true)),
            ("", (Common, 4096, 0, true)),
        ] {
            let is_for_servers = path.contains("Propagate") || path.ends_with("Import");
            assert_eq!(limits(path), (expected, is_for_servers), "{path}");
        }
    }
}
