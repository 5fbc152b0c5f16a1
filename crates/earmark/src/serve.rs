//! `earmark serve`: open the store, start the engine, the gateway and the server.

use std::io::IsTerminal;
use std::sync::Arc;

use anyhow::Context;
use earmark::config_file::ConfigFile;
use earmark_engine::{EngineOptions, Quota};
use earmark_gateway::upstream::Upstreams;
use earmark_gateway::{Gateway, GatewayOptions};
use earmark_server::{Metrics, Server, ServerOptions};
use earmark_store::clock::{Clock, SystemClock};
use serde_json::json;
use tracing_subscriber::EnvFilter;

use crate::cli::ServeArgs;
use crate::data_dir::{self, ServerFile};
use crate::first_start::Demo;
use crate::settings::Settings;
use crate::signals::StopSignals;
use crate::stores::OpenStore;
use crate::tls_files::TlsFiles;
use crate::{first_start, output, upstreams};

/// Runs until SIGTERM or SIGINT, then finishes what has begun, or cuts it at a second one.
pub(crate) async fn run(settings: Settings, arguments: &ServeArgs) -> anyhow::Result<()> {
    log(EnvFilter::new(&settings.log), arguments.log_json);
    // Before anything else: a signal that comes during the start ends it in good order, too.
    let signals = StopSignals::listen()?;
    let file = settings.file.as_ref().map(|(_, file)| file);
    let loaded = settings.tls.as_ref().map(TlsFiles::load).transpose()?;
    let store = OpenStore::open(&settings, true).await?;
    let now = SystemClock.now();
    // Before a demo key is made that nobody would get to see.
    let free = std::net::TcpListener::bind(settings.listen);
    free.with_context(|| format!("cannot listen on {}; name another --listen", settings.listen))?;
    let (key, admin_key) = data_dir::admin_key(&settings, now)?;
    let metrics = Metrics::new();
    let options = EngineOptions {
        observe: metrics.clone(),
        ledger_retention: Some(settings.ledger_retention),
        ..EngineOptions::default()
    };
    let quota = store.engine(options).await?;
    configure(&quota, file).await?;
    let demo = first_start::demo(&quota, now).await?;

    let configured = upstreams::read(file)?;
    let infos = upstreams::infos(&configured);
    let upstreams = Upstreams::new(configured).context("upstreams")?;
    let gateway_options = GatewayOptions {
        stand_in_only_key_id: first_start::demo_key_id(&quota).await?,
        models_created_s: u64::try_from(now.0 / 1_000).unwrap_or(0),
        ..GatewayOptions::default()
    };
    let gateway = Gateway::new(quota.clone(), upstreams, gateway_options);

    let mut options = ServerOptions::new(settings.listen);
    options.tls = loaded.as_ref().map(|loaded| loaded.tls.clone());
    options.metrics_listen = settings.metrics_listen;
    options.admin_keys = vec![admin_key];
    options.upstreams = infos;
    options.backups = Some(data_dir::backups(&settings.data)?);
    options.webhooks.allow_private = settings.webhook_allow_private;
    options.gateway = Some(Arc::new(gateway));
    let server = Server::bind(quota, metrics, options).await?;
    let (address, pid) = (server.local_addr().to_string(), std::process::id());
    let mut tls_cert = None;
    if let Some(loaded) = loaded {
        data_dir::write_certificate(&settings.data, loaded.chain())?;
        tls_cert = Some(data_dir::certificate_path(&settings.data)?);
        loaded.follow(settings.data.clone())?;
    }
    let info = ServerFile { address, tls_cert, key, pid };
    let announced = data_dir::announce(&settings.data, &info)?;
    tracing::info!(address = info.address, data = %settings.data.display(), "listening");
    greet(&settings, &info, demo.as_ref());
    let cut = signals.clone().came(2);
    let shutdown = async {
        signals.came(1).await;
        tracing::info!("stopping; a second signal cuts what is still open");
    };
    let served = server.run(shutdown, cut).await;
    drop(announced);
    Ok(served?)
}

/// Says where the server is, and after a first start what to try.
fn greet(settings: &Settings, server: &ServerFile, demo: Option<&Demo>) {
    let url = server.url();
    if settings.json {
        let mut told = json!({"address": server.address, "url": url, "data": settings.data});
        if let Some(demo) = demo {
            told["demo"] = json!({"tenant": first_start::DEMO_TENANT, "key": demo.key});
        }
        return output::json(&told);
    }
    output::line(format_args!("Earmark listens on {url} (API description at /docs)"));
    if let Some(demo) = demo {
        // Absolute: the lines are pasted in another terminal, which may be anywhere.
        let key_file = data_dir::admin_key_path(&settings.data);
        let key_file = std::path::absolute(&key_file).unwrap_or(key_file);
        output::line("");
        let curl = match &server.tls_cert {
            Some(file) => format!("curl -s --cacert '{}'", file.display()),
            None => "curl -s".to_owned(),
        };
        output::line(first_start::lines(&curl, &url, demo, &key_file.display().to_string()));
    }
}

/// The file's meters and plans go into an empty store; later the difference is only logged,
/// and `earmark apply` is the one way.
async fn configure(quota: &Quota, file: Option<&ConfigFile>) -> anyhow::Result<()> {
    let document = file.filter(|file| file.has_document()).map(ConfigFile::document);
    if first_start::configure(quota, document.as_ref()).await? {
        return Ok(());
    }
    let Some(document) = document else { return Ok(()) };
    let current = quota.config();
    let default_plan = document.default_plan_over(&current.document);
    let differs = default_plan != current.document.default_plan
        || document.meters.iter().any(|(name, m)| current.document.meters.get(name) != Some(m))
        || document.plans.iter().any(|(name, p)| current.document.plans.get(name) != Some(p));
    if differs {
        tracing::warn!(
            "the configuration file differs from the store; `earmark apply` shows and applies it"
        );
    }
    Ok(())
}

fn log(filter: EnvFilter, json: bool) {
    let logger = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A second logger in one process is a test's: the first one stays.
    let _ = if json { logger.json().try_init() } else { logger.try_init() };
}
