//! How a client connects: options, channels of its own, TLS.

use std::time::Duration;

use etcd_client::{
    BalancedChannelBuilder, Certificate, Channel, Client, ConnectOptions, Error, GetResponse,
    Identity, TlsOptions, WatchOptions, WatchResponse, WatchStream,
};
use tokio::sync::mpsc::Sender;
use tonic::Code;
use tonic::transport::channel::Change;
use tonic::transport::{Endpoint, Uri};

use crate::certificates::{Authority, Folder};
use crate::process::{Member, places};
use crate::{SOON, one, refused, since_3_6, soon};

#[tokio::test(flavor = "multi_thread")]
async fn with_every_option() {
    let (members, _client): (Vec<Member>, Client) = one(&[]).await;
    let place = &members[0].place;
    // Who pings etcd more often than every five seconds is sent away; vetcd minds nobody's pings.
    let interval = Duration::from_millis(if since_3_6() { 300 } else { 10_000 });
    let options = ConnectOptions::new()
        .with_keep_alive(interval, Duration::from_secs(5))
        .with_keep_alive_while_idle(true)
        .with_timeout(Duration::from_secs(10))
        .with_connect_timeout(Duration::from_secs(5))
        .with_tcp_keepalive(Duration::from_secs(60))
        .with_require_leader(true);
    let endpoints = [place.client_url()];
    let mut client: Client = Client::connect(endpoints, Some(options)).await.unwrap();
    client.put("a", "1", None).await.unwrap();
    // Pings keep a connection with a quiet stream on it alive.
    let options = WatchOptions::new().with_watch_id(3);
    let mut stream: WatchStream = client.watch("a", Some(options)).await.unwrap();
    let created: WatchResponse = soon(stream.message()).await.unwrap().unwrap();
    assert!(created.created());
    tokio::time::sleep(Duration::from_millis(1200)).await;
    client.put("a", "2", None).await.unwrap();
    let response: WatchResponse = soon(stream.message()).await.unwrap().unwrap();
    assert_eq!(response.events().len(), 1);

    let none: [&str; 0] = [];
    let nowhere = Client::connect(none, None).await.map(|_| ());
    assert!(matches!(nowhere, Err(Error::InvalidArgs(_))), "{nowhere:?}");
    let options = ConnectOptions::new().with_connect_timeout(Duration::from_millis(300));
    let mut nobody: Client = Client::connect(["127.0.0.1:1"], Some(options))
        .await
        .unwrap();
    assert_eq!(refused(nobody.get("a", None).await).0, Code::Unavailable);
}

/// A channel like the crate's own.
struct Own;

impl BalancedChannelBuilder for Own {
    type Error = tonic::transport::Error;

    fn balanced_channel(
        self,
        buffer_size: usize,
    ) -> Result<(Channel, Sender<Change<Uri, Endpoint>>), Self::Error> {
        let (channel, updates) = tonic::transport::Channel::balance_channel(buffer_size);
        Ok((Channel::Tonic(channel), updates))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_channel_of_ones_own() {
    let (members, _client): (Vec<Member>, Client) = one(&[]).await;
    let url = members[0].place.client_url();
    let mut client: Client = Client::connect_with_balanced_channel([&url], None, Own)
        .await
        .unwrap();
    client.put("a", "1", None).await.unwrap();
    let endpoint = Endpoint::from_shared(url.clone()).unwrap();
    let channel = Channel::Tonic(endpoint.connect().await.unwrap());
    let mut client: Client = Client::from_channel(channel, None).await.unwrap();
    let got: GetResponse = client.get("a", None).await.unwrap();
    assert_eq!(got.count(), 1);
    let unmanaged = client.add_endpoint(&url).await;
    assert!(
        matches!(unmanaged, Err(Error::EndpointsNotManaged)),
        "{unmanaged:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn by_tls() {
    let folder = Folder::new();
    let authority = Authority::new("authority");
    let stranger = Authority::new("stranger");
    let server = authority.issue("server", &["127.0.0.1", "localhost"]);
    let own = authority.issue("client", &[]);
    let trusted = folder.write("ca.pem", &authority.pem());
    let place = places(1).remove(0);
    let url = format!("https://{}", place.client_address);
    let mut flags = folder.certificate_flags("", "server", &server);
    flags.extend([
        format!("--trusted-ca-file={trusted}"),
        "--client-cert-auth".to_owned(),
        format!("--listen-client-urls={url}"),
        format!("--advertise-client-urls={url}"),
    ]);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut member = Member::new(&place, std::slice::from_ref(&place), &flags);
    member.start();

    let identity = Identity::from_pem(own.chain(), own.key_pem());
    let tls = |authority: &Authority| {
        TlsOptions::new().ca_certificate(Certificate::from_pem(authority.pem()))
    };
    let connect = |tls: TlsOptions| {
        let options = ConnectOptions::new()
            .with_tls(tls)
            .with_connect_timeout(Duration::from_secs(5));
        Client::connect([url.clone()], Some(options))
    };
    let known = tls(&authority).identity(identity.clone());
    let mut client: Client = connect(known).await.unwrap();
    // The member elects itself first.
    let begin = std::time::Instant::now();
    while let Err(error) = client.put("a", "1", None).await {
        assert!(begin.elapsed() < SOON, "{error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let got: GetResponse = client.get("a", None).await.unwrap();
    assert_eq!(got.count(), 1);
    let named = tls(&authority)
        .identity(identity.clone())
        .domain_name("localhost");
    let mut client: Client = connect(named).await.unwrap();
    assert_eq!(client.get("a", None).await.unwrap().count(), 1);
    // An address without a scheme goes by what the options say.
    let options = ConnectOptions::new().with_tls(tls(&authority).identity(identity.clone()));
    let address = [&place.client_address];
    let mut client: Client = Client::connect(address, Some(options)).await.unwrap();
    assert_eq!(client.get("a", None).await.unwrap().count(), 1);

    // Without a certificate, under another name, or trusting somebody else: nobody gets in.
    for tls in [
        tls(&authority),
        tls(&authority)
            .identity(identity.clone())
            .domain_name("elsewhere"),
        tls(&stranger).identity(identity.clone()),
    ] {
        let mut client: Client = connect(tls).await.unwrap();
        // The code is the client's own, and follows from how far the handshake had come.
        let refusal = refused(client.get("a", None).await);
        assert!(
            matches!(
                refusal.0,
                Code::Unavailable | Code::Cancelled | Code::Unknown
            ),
            "{refusal:?}"
        );
    }
    let options = ConnectOptions::new().with_tls(tls(&authority));
    let plain = Client::connect([place.client_url()], Some(options)).await;
    let plain = plain.map(|_| ());
    assert!(matches!(plain, Err(Error::InvalidArgs(_))), "{plain:?}");
}
