//! TLS: both protocols of HTTP, a new certificate while the server runs, and the stop.

use std::time::Duration;

use earmark_server::{Certificate, Tls};
use http::Version;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::World;

/// A pair for the address of the tests: what is shown, and what clients trust.
fn pair() -> (Certificate, reqwest::Certificate) {
    // Whichever test is first; the provider of all of them is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let certificate = Certificate::read(chain.as_bytes(), key.as_bytes()).unwrap();
    (certificate, reqwest::Certificate::from_pem(chain.as_bytes()).unwrap())
}

async fn world(certificate: &Certificate) -> (World, Tls) {
    let tls = Tls::new(certificate);
    let world = World::empty(|options, _| {
        options.tls = Some(tls.clone());
        options.drain = Duration::from_secs(60);
    });
    (world.await, tls)
}

fn trusting(certificate: &reqwest::Certificate) -> reqwest::ClientBuilder {
    reqwest::Client::builder().no_proxy().tls_certs_only([certificate.clone()])
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_get_the_protocol_that_they_ask_for() {
    let (certificate, trusted) = pair();
    let (world, _) = world(&certificate).await;
    let url = format!("https://{}/healthz", world.address);
    for (client, version) in
        [(trusting(&trusted), Version::HTTP_2), (trusting(&trusted).http1_only(), Version::HTTP_11)]
    {
        let reply = client.build().unwrap().get(&url).send().await.unwrap();
        assert_eq!((reply.status().as_u16(), reply.version()), (200, version));
    }
    let (_, other) = pair();
    let refused = trusting(&other).build().unwrap().get(&url).send().await;
    assert!(refused.is_err(), "a certificate that is not trusted");
    let plain = reqwest::get(format!("http://{}/healthz", world.address)).await;
    assert!(plain.is_err(), "nothing is answered without TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_certificate_is_shown_to_the_next_connection_and_the_open_ones_go_on() {
    let (certificate, trusted) = pair();
    let (world, tls) = world(&certificate).await;
    let url = format!("https://{}/healthz", world.address);
    let open = trusting(&trusted).build().unwrap();
    open.get(&url).send().await.unwrap();
    let (certificate, new) = pair();
    tls.replace(&certificate);
    open.get(&url).send().await.expect("the open connection goes on");
    assert!(trusting(&trusted).build().unwrap().get(&url).send().await.is_err());
    trusting(&new).build().unwrap().get(&url).send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_handshakes_and_idle_connections() {
    let (certificate, trusted) = pair();
    let (world, _) = world(&certificate).await;
    let url = format!("https://{}/healthz", world.address);
    let http_2 = trusting(&trusted).build().unwrap();
    let http_1 = trusting(&trusted).http1_only().build().unwrap();
    for client in [&http_2, &http_1] {
        client.get(&url).send().await.unwrap();
    }
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    let mut half = TcpStream::connect(world.address).await.unwrap();
    // The head of a record that does not come.
    half.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let ended = tokio::time::timeout(Duration::from_secs(5), world.stop());
    ended.await.expect("nothing is waited for").unwrap();
    for socket in [&mut silent, &mut half] {
        let mut rest = Vec::new();
        // Closed or reset: either way it is over.
        let _ = socket.read_to_end(&mut rest).await;
    }
}
