//! Digests: servers with the same reports have the same sums, and narrower ranges find what
//! differs.

use std::sync::atomic::AtomicBool;

use super::*;
use twox_hash::XxHash3_128;

/// Computes the sum from the server's AT lines.
fn expected<'a>(herd: &Herd, clients: impl Iterator<Item = &'a String>) -> (u64, u128) {
    let mut sum = (0, 0u128);
    for client in clients {
        let line = herd.at_line("Riley", client).unwrap();
        let hash = XxHash3_128::oneshot(line.as_bytes());
        sum = (sum.0 + 1, sum.1.wrapping_add(hash));
    }
    sum
}

fn sum_of(bucket: &Bucket) -> (u64, u128) {
    let bytes: [u8; 16] = bucket.sum[..].try_into().unwrap();
    (bucket.clients, u128::from_be_bytes(bytes))
}

#[test]
fn a_bucket_has_the_sum_over_the_at_lines_of_its_hashes() {
    let herd = Herd::start(ALONE);
    let operator = Operator::of(&herd, "Riley");
    let empty = operator.buckets(&[], 0);
    assert_eq!(empty.len(), 1);
    assert_eq!((sum_of(&empty[0]), empty[0].last_hash), ((0, 0), u64::MAX));

    let ids: Vec<String> = (0..500).map(|n| format!("client-{n}")).collect();
    for time in [5, 6] {
        let lines: Vec<_> = ids
            .iter()
            .map(|id| format!("IAMAT {id} +1+1 {time}"))
            .collect();
        tell_all(&mut herd.client("Riley"), &lines);
        let whole = operator.digest(DigestRequest::default()).unwrap();
        assert_eq!(
            whole.sequence,
            herd.gateway("Riley").replica().store().last()
        );
        assert_eq!(whole.incarnation, herd.incarnation("Riley").get());
        assert_eq!(sum_of(&whole.buckets[0]), expected(&herd, ids.iter()));
    }
    let all: &[(u64, u32)] = &[(0, 0)];
    let two = &[(1 << 62, 2), (5 << 61, 3)];
    for (ranges, count) in [(all, 4096), (two, 8), (two, 1)] {
        let buckets = operator.buckets(ranges, count);
        let mut expected_bounds = Vec::new();
        for &(first, level) in ranges {
            let size = (1u128 << (64 - level)) / u128::from(count);
            let bounds = |part| {
                let first = u128::from(first) + u128::from(part) * size;
                (first as u64, (first + size - 1) as u64)
            };
            expected_bounds.extend((0..count).map(bounds));
        }
        let bounds = buckets.iter().map(|it| (it.first_hash, it.last_hash));
        assert!(bounds.eq(expected_bounds));
        for bucket in &buckets {
            let hashes = bucket.first_hash..=bucket.last_hash;
            let inside = ids.iter().filter(|id| hashes.contains(&client_hash(id)));
            assert_eq!(sum_of(bucket), expected(&herd, inside));
            assert!(!bucket.unsettled);
        }
    }
}

#[test]
fn a_bucket_of_a_client_that_reports_all_the_time_is_unsettled_or_has_one_of_its_reports() {
    let herd = Herd::start(ALONE);
    let operator = Operator::of(&herd, "Riley");
    let ids: Vec<String> = (0..3000).map(|n| format!("client-{n}")).collect();
    let lines: Vec<_> = ids.iter().map(|id| format!("IAMAT {id} +1+1 5")).collect();
    tell_all(&mut herd.client("Riley"), &lines);
    let is_over = AtomicBool::new(false);
    let in_bucket = |at: usize, id: &String| client_hash(id) >> 52 == at as u64;
    let still = |at| {
        ids.iter()
            .filter(move |id| in_bucket(at, id) && *id != "client-7")
    };
    let sums: Vec<_> = (0..4096).map(|at| expected(&herd, still(at))).collect();
    std::thread::scope(|scope| {
        let mut moving = herd.client("Riley");
        let is_over = &is_over;
        scope.spawn(move || {
            for time in (6..1_000_000).take_while(|_| !is_over.load(SeqCst)) {
                moving.ask(&format!("IAMAT client-7 +1+1 {time}"));
            }
        });
        eventually("a bucket is unsettled", || {
            let buckets = operator.buckets(&[], 4096);
            for (at, (bucket, &(clients, sum))) in buckets.iter().zip(&sums).enumerate() {
                if in_bucket(at, &"client-7".to_owned()) {
                    assert_eq!(bucket.clients, clients + 1);
                } else {
                    assert_eq!((sum_of(bucket), bucket.unsettled), ((clients, sum), false));
                }
            }
            buckets.iter().any(|bucket| bucket.unsettled).then_some(())
        });
        is_over.store(true, SeqCst);
    });
}

#[test]
fn servers_have_equal_digests_after_concurrent_load_on_all_of_them() {
    let herd = Herd::start(CLASSIC);
    let operators: Vec<_> = CLASSIC
        .0
        .iter()
        .map(|name| Operator::of(&herd, name))
        .collect();
    let lines = |server: usize| -> Vec<String> {
        let line = |n: usize| format!("IAMAT client-{} +{server}+1 {}", (n * 7 + server) % 300, n);
        (0..1500).map(line).collect()
    };
    std::thread::scope(|scope| {
        for (server, name) in CLASSIC.0.iter().enumerate() {
            let (mut client, lines) = (herd.client(name), lines(server));
            scope.spawn(move || tell_all(&mut client, &lines));
        }
    });
    let digests = || -> BTreeSet<Vec<(u64, u128)>> {
        let buckets = |it: &Operator| it.buckets(&[], 4096).iter().map(sum_of).collect();
        operators.iter().map(buckets).collect()
    };
    eventually("all digests are equal", || {
        (digests().len() == 1).then_some(())
    });
    let total: u64 = digests().pop_first().unwrap().iter().map(|it| it.0).sum();
    assert_eq!(total, 300);
}

#[test]
fn narrower_ranges_find_the_reports_in_which_servers_differ() {
    let herd = Herd::start(PAIR);
    let ids: Vec<String> = (0..3000).map(|n| format!("client-{n}")).collect();
    let lines: Vec<_> = ids.iter().map(|id| format!("IAMAT {id} +1+1 5")).collect();
    tell_all(&mut herd.client("Riley"), &lines);
    let (riley, jaquez) = (Operator::of(&herd, "Riley"), Operator::of(&herd, "Jaquez"));
    let differing = |ranges: &[(u64, u32)], count| -> Vec<Bucket> {
        let ours = riley.buckets(ranges, count);
        let theirs = jaquez.buckets(ranges, count);
        let both = ours.into_iter().zip(theirs);
        both.filter_map(|(ours, theirs)| (ours != theirs).then_some(ours))
            .collect()
    };
    eventually("the digests are equal", || {
        differing(&[], 4096).is_empty().then_some(())
    });
    herd.set_link("Riley", "Jaquez", Mode::Cut);
    herd.client("Riley").ask("IAMAT client-1234 +1+1 6");
    herd.client("Jaquez").ask("IAMAT only-here +1+1 6");

    let mut ranges = vec![(0, 0)];
    for level in [6, 12, 18, 24, 30, 36, 42] {
        let buckets = differing(&ranges, 64);
        ranges = buckets.iter().map(|it| (it.first_hash, level)).collect();
    }
    let request = ListClientsRequest {
        ranges: hash_ranges(&ranges),
        ..ListClientsRequest::default()
    };
    let mut found = BTreeSet::new();
    for operator in [&riley, &jaquez] {
        let answer = operator.list(request.clone()).unwrap();
        found.extend(answer.clients.iter().map(|it| id_of(it).to_owned()));
    }
    let expected = ["client-1234", "only-here"].map(str::to_owned);
    assert_eq!(found, BTreeSet::from(expected));
    herd.set_link("Riley", "Jaquez", Mode::Pass);
    eventually("the digests are equal again", || {
        differing(&[], 1).is_empty().then_some(())
    });
}

#[test]
fn a_report_leaves_the_sums_the_nanosecond_it_expires() {
    let (herd, now) = forgetful();
    let operator = Operator::of(&herd, "Riley");
    let mut client = herd.client("Riley");
    client.ask("IAMAT kiwi +1+1 100.5");
    client.ask("IAMAT plum +1+1 103");
    let whole = || sum_of(&operator.buckets(&[], 1)[0]);
    let of = |ids: &[&str]| {
        let ids: Vec<_> = ids.iter().map(|id| (*id).to_owned()).collect();
        expected(&herd, ids.iter())
    };
    let both = of(&["kiwi", "plum"]);
    now.store(110 * SECOND + SECOND / 2, SeqCst);
    assert_eq!(whole(), both);
    now.store(110 * SECOND + SECOND / 2 + 1, SeqCst);
    assert_eq!(whole(), of(&["plum"]));
    now.store(110 * SECOND, SeqCst);
    assert_eq!(whole(), both, "the clock was set back");
    now.store(120 * SECOND, SeqCst);
    assert_eq!(whole(), (0, 0));
}

#[test]
fn a_digest_may_be_as_of_a_time_other_than_the_servers() {
    let (herd, now) = forgetful();
    let operator = Operator::of(&herd, "Riley");
    herd.client("Riley").ask("IAMAT kiwi +1+1 100");
    let as_of = |nanos| {
        operator.digest(DigestRequest {
            as_of: Some(timestamp(nanos)),
            ..DigestRequest::default()
        })
    };
    let clients = |nanos| as_of(nanos).unwrap().buckets[0].clients;
    let [last, later] = [110 * SECOND, 110 * SECOND + 1];
    assert_eq!((clients(last), clients(later)), (1, 0));
    now.store(later, SeqCst);
    assert_eq!((clients(last), clients(later)), (1, 0));
    now.store(86_400 * SECOND + 50 * SECOND, SeqCst);
    assert_eq!(clients(50 * SECOND), 1);
    let message = "as_of must be at most a day before the server's clock, 1970-01-02T00:00:50.";
    assert_invalid(as_of(50 * SECOND - 1), message);
    let malformed = DigestRequest {
        as_of: Some(prost_types::Timestamp {
            seconds: 1,
            nanos: -1,
        }),
        ..DigestRequest::default()
    };
    assert_invalid(
        operator.digest(malformed),
        "as_of must be a time from 1678 to 2261",
    );
}

#[test]
fn an_invalid_request_is_rejected_with_its_cause() {
    let herd = Herd::start(ALONE);
    let operator = Operator::of(&herd, "Riley");
    let ask = |ranges: &[(u64, u32)], buckets| {
        operator.digest(DigestRequest {
            ranges: hash_ranges(ranges),
            buckets,
            as_of: None,
        })
    };
    let message = "ranges must be in ascending order, and no two may have a hash in common";
    assert_invalid(ask(&[(1 << 63, 1), (0, 1)], 1), message);
    assert_invalid(ask(&[(0, 1), (1 << 62, 2)], 1), message);
    let message = "a range must have a level of at most 64 and a first hash whose bits after";
    assert_invalid(ask(&[(0, 65)], 1), message);
    assert_invalid(ask(&[(1, 63)], 1), message);
    let many: Vec<_> = (0..1025).map(|n| (n, 64)).collect();
    assert_invalid(ask(&many, 1), "ranges must be at most 1024");
    assert!(ask(&many[..1024], 1).is_ok());
    let message = "buckets must be a power of two, at most the number of hashes in each range, \
                   and at most 65536 for all ranges together";
    for buckets in [3, 131_072, u32::MAX] {
        assert_invalid(ask(&[], buckets), message);
    }
    assert_invalid(ask(&[(0, 1), (1 << 63, 1)], 65_536), message);
    assert_invalid(ask(&[(8, 63)], 4), message);
    assert!(ask(&[(8, 63)], 2).is_ok());
    assert_eq!(ask(&[], 65_536).unwrap().buckets.len(), 65_536);
}
