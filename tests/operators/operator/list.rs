//! Lists of clients, in pages.

use super::*;

fn pages(operator: &Operator, request: &ListClientsRequest) -> Vec<Vec<String>> {
    let (mut pages, mut request) = (Vec::new(), request.clone());
    loop {
        let answer = operator.list(request.clone()).unwrap();
        pages.push(
            answer
                .clients
                .iter()
                .map(|it| id_of(it).to_owned())
                .collect(),
        );
        if answer.next_page_token.is_empty() {
            return pages;
        }
        request.page_token = answer.next_page_token;
    }
}

#[test]
fn pages_have_each_client_once_in_order_and_filter_by_prefix_and_hash() {
    let herd = Herd::start(ALONE);
    let operator = Operator::of(&herd, "Riley");
    let everything = ListClientsRequest::default();
    assert_eq!(pages(&operator, &everything), [Vec::<String>::new()]);

    let mut ids: Vec<String> = (0..2500).map(|n| format!("client-{n}")).collect();
    ids.extend(["Zoë", "клиент", "A"].map(str::to_owned));
    let lines: Vec<_> = ids.iter().map(|id| format!("IAMAT {id} +1+1 5")).collect();
    tell_all(&mut herd.client("Riley"), &lines);
    ids.sort();
    let lengths = |pages: &[Vec<String>]| pages.iter().map(Vec::len).collect::<Vec<_>>();
    let all = pages(&operator, &everything);
    assert_eq!(lengths(&all), [1000, 1000, 503]);
    assert_eq!(all.concat(), ids);

    let by_ten = ListClientsRequest {
        prefix: "client-24".to_owned(),
        page_size: 37,
        ..everything.clone()
    };
    let some = pages(&operator, &by_ten);
    assert_eq!(lengths(&some), [37, 37, 37]);
    assert!(some.concat().iter().all(|id| id.starts_with("client-24")));

    let quarter = |nth: u64| (nth << 62, 2);
    let [even, odd] = [[0, 2], [1, 3]].map(|two| {
        let request = ListClientsRequest {
            ranges: hash_ranges(&two.map(quarter)),
            ..everything.clone()
        };
        pages(&operator, &request).concat()
    });
    assert!(even.iter().all(|id| client_hash(id) >> 62 & 1 == 0));
    let both: BTreeSet<_> = even.into_iter().chain(odd).collect();
    assert_eq!(both.into_iter().collect::<Vec<_>>(), ids);
}

#[test]
fn expired_reports_are_not_listed() {
    let (herd, now) = forgetful();
    herd.client("Riley").ask("IAMAT kiwi +1+1 100");
    let operator = Operator::of(&herd, "Riley");
    let list = || {
        operator
            .list(ListClientsRequest::default())
            .unwrap()
            .clients
    };
    now.store(110 * SECOND, SeqCst);
    assert_eq!(list().len(), 1);
    now.store(110 * SECOND + 1, SeqCst);
    assert_eq!(list().len(), 0);
    let earlier = ListClientsRequest {
        as_of: Some(timestamp(110 * SECOND)),
        ..ListClientsRequest::default()
    };
    assert_eq!(operator.list(earlier).unwrap().clients.len(), 1);
}

#[test]
fn an_invalid_request_is_rejected_with_its_cause() {
    let herd = Herd::start(ALONE);
    let operator = Operator::of(&herd, "Riley");
    let ask = |request| operator.list(request);
    let too_many = ListClientsRequest {
        page_size: 10_001,
        ..ListClientsRequest::default()
    };
    assert_invalid(ask(too_many), "page_size must be at most 10000");
    let backwards = ListClientsRequest {
        ranges: hash_ranges(&[(1 << 63, 1), (0, 1)]),
        ..ListClientsRequest::default()
    };
    assert_invalid(ask(backwards), "ranges must be in ascending order");
}

#[test]
fn a_page_of_the_longest_ids_is_limited_in_bytes() {
    let herd = Herd::start(ALONE);
    let operator = Operator::of(&herd, "Riley");
    let id = |n: usize| format!("{n:0>255}");
    let position = format!("+{}-{}", "0".repeat(31), "0".repeat(31));
    let lines: Vec<_> = (0..9000)
        .map(|n| format!("IAMAT {} {position} {}5", id(n), "0".repeat(31)))
        .collect();
    tell_all(&mut herd.client("Riley"), &lines);
    let request = ListClientsRequest {
        page_size: 10_000,
        ..ListClientsRequest::default()
    };
    let all = pages(&operator, &request);
    assert_eq!(all.len(), 2);
    assert_eq!(all.concat(), (0..9000).map(id).collect::<Vec<_>>());
    let everyone = NearbyRequest {
        limit: 10_000,
        center: Some(Center::Point(Point::default())),
        ..NearbyRequest::default()
    };
    let message = "use a lower limit";
    assert_rejected(operator.nearby(everyone), Code::ResourceExhausted, message);
}
