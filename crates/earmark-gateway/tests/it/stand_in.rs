//! The stand-in through the relay: the same path as any upstream.

use earmark_gateway::{
    Ending, ReportedUsage,
    upstream::{StandInConfig, Timeouts, UpstreamConfig, UpstreamKind},
};

use crate::gateway::{Gateway, read};

async fn gateway(stand_in: StandInConfig) -> Gateway {
    let upstream = UpstreamConfig {
        name: "stand-in".into(),
        kind: UpstreamKind::StandIn(stand_in),
        models: vec!["m".into()],
        renamed: Vec::new(),
        timeouts: Timeouts::default(),
    };
    Gateway::start(upstream, None).await
}

#[tokio::test]
async fn it_answers_plainly_and_in_a_stream() {
    let gateway = gateway(StandInConfig { words_min: 30, ..Default::default() }).await;
    for more in ["", r#","stream":true,"n":2,"stream_options":{"include_usage":true}"#] {
        let (body, clean) = read(gateway.call(more).await).await;
        assert!(clean);
        assert!(body.contains("stand-in"), "{body}");
        let report = gateway.report().await;
        assert_eq!(report.ending, Ending::Complete);
        assert!(matches!(report.observation.usage, ReportedUsage::Valid(_)));
    }
}

#[tokio::test]
async fn its_failures_are_refusals_that_pass() {
    let gateway = gateway(StandInConfig { failures_per_mille: 500, ..Default::default() }).await;
    for expected in [Ending::Complete, Ending::Refused { status: 500 }] {
        let status = gateway.call("").await.status();
        assert_eq!(status, if expected == Ending::Complete { 200 } else { 500 });
        assert_eq!(gateway.report().await.ending, expected);
    }
}

#[tokio::test]
async fn a_client_that_leaves_stops_it() {
    let gateway = gateway(StandInConfig { word_delay_ms: 60_000, ..Default::default() }).await;
    let mut reply = gateway.stream().await;
    assert!(reply.chunk().await.unwrap().is_some());
    drop(reply);
    assert_eq!(gateway.report().await.ending.name(), "client_left_before_output");
}
