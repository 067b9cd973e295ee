//! Digests: servers with the same reports have the same sums, and narrower ranges find what
//! differs.

use super::*;
use twox_hash::XxHash3_128;

/// Computes the sum from the server's AT lines.
fn expected<'a>(herd: &Herd, clients: impl Iterator<Item = &'a String>) -> (u64, u128) {
    let mut sum = (0, 0u128);
    for client in clients {
        let line = herd.at_line("Riley", client).unwrap();
        let hash = XxHash3_128::oneshot(line.trim_end().as_bytes());
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
    let empty = operator.buckets(0, 0, 0);
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
    let third = u64::MAX / 3;
    for (first, last, count) in [(0, 0, 4096), (third, 2 * third, 8), (third, 0, 1)] {
        let buckets = operator.buckets(first, last, count);
        assert_eq!(buckets.len(), count as usize);
        assert_eq!(buckets[0].first_hash, first);
        let end = if last == 0 { u64::MAX } else { last };
        assert_eq!(buckets.last().unwrap().last_hash, end);
        for two in buckets.windows(2) {
            assert_eq!(two[0].last_hash + 1, two[1].first_hash);
        }
        for bucket in &buckets {
            let hashes = bucket.first_hash..=bucket.last_hash;
            let inside = ids.iter().filter(|id| hashes.contains(&client_hash(id)));
            assert_eq!(sum_of(bucket), expected(&herd, inside));
        }
    }
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
        // Queried during the load, so that the digests are built in steps.
        for operator in operators.iter().cycle().take(50) {
            operator.buckets(0, 0, 4096);
        }
    });
    let digests = || -> BTreeSet<Vec<(u64, u128)>> {
        let buckets = |it: &Operator| it.buckets(0, 0, 4096).iter().map(sum_of).collect();
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
    let differing = |first, last, count| -> Vec<Bucket> {
        let ours = riley.buckets(first, last, count);
        let theirs = jaquez.buckets(first, last, count);
        let both = ours.into_iter().zip(theirs);
        both.filter_map(|(ours, theirs)| (ours != theirs).then_some(ours))
            .collect()
    };
    eventually("the digests are equal", || {
        differing(0, 0, 4096).is_empty().then_some(())
    });
    herd.set_link("Riley", "Jaquez", Mode::Cut);
    herd.client("Riley").ask("IAMAT client-1234 +1+1 6");
    herd.client("Jaquez").ask("IAMAT only-here +1+1 6");

    let mut found = BTreeSet::new();
    let mut ranges = vec![(0, u64::MAX)];
    while let Some((first, last)) = ranges.pop() {
        for bucket in differing(first, last, 64) {
            if bucket.last_hash - bucket.first_hash > 1 << 20 {
                ranges.push((bucket.first_hash, bucket.last_hash));
                continue;
            }
            let request = ListClientsRequest {
                first_hash: bucket.first_hash,
                last_hash: bucket.last_hash,
                ..ListClientsRequest::default()
            };
            for operator in [&riley, &jaquez] {
                let answer = operator.list(request.clone()).unwrap();
                found.extend(answer.clients.iter().map(|it| id_of(it).to_owned()));
            }
        }
    }
    let expected = ["client-1234", "only-here"].map(str::to_owned);
    assert_eq!(found, BTreeSet::from(expected));
    herd.set_link("Riley", "Jaquez", Mode::Pass);
    eventually("the digests are equal again", || {
        differing(0, 0, 1).is_empty().then_some(())
    });
}

#[test]
fn a_report_leaves_the_sums_the_nanosecond_it_expires() {
    let (herd, now) = forgetful();
    let operator = Operator::of(&herd, "Riley");
    let mut client = herd.client("Riley");
    client.ask("IAMAT kiwi +1+1 100.5");
    client.ask("IAMAT plum +1+1 103");
    let whole = || sum_of(&operator.buckets(0, 0, 1)[0]);
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
fn an_invalid_request_is_rejected_with_its_cause() {
    let herd = Herd::start(ALONE);
    let operator = Operator::of(&herd, "Riley");
    let ask = |first_hash, last_hash, buckets| {
        operator.digest(DigestRequest {
            first_hash,
            last_hash,
            buckets,
        })
    };
    let message = "first_hash must not be greater than last_hash";
    assert_invalid(ask(2, 1, 1), message);
    assert_invalid(ask(0, 0, 3), "buckets must be a power of two, at most 4096");
    assert_invalid(ask(0, 0, 8192), "buckets must be at most 4096");
    let message = "at most the number of hashes in the range";
    assert_invalid(ask(5, 7, 4), message);
    assert!(ask(5, 8, 4).is_ok());
}
