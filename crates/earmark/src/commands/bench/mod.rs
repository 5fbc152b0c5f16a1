//! `earmark bench`: makes tenants ready, calibrates the generator, loads the server, and tells.
//!
//! Always holds: what is printed while it runs goes to standard error, the result to standard
//! output; it loads this machine's servers only, unless it is told otherwise.
//! Not here: removing the tenants that it used, which it names.

mod shown;

use serde_json::{Value, json};

use anyhow::{Context, bail};
use earmark_load::{
    Arrivals, Calibration, Endpoint, Load, Progress, Report, RunError, Spread, Stop, Target,
    Tenants, calibrate,
};

use crate::cli::{BenchArgs, BenchArrivals, BenchCommand, BenchSpread, UsageError};
use crate::client::running_server;
use crate::output;
use crate::settings::Settings;
use crate::signals::StopSignals;

/// A load that is ready to be run.
struct Bench {
    arguments: BenchArgs,
    target: Target,
    endpoint: Endpoint,
    tenants: Tenants,
}

/// Runs a load.
pub(crate) async fn run(settings: &Settings, command: BenchCommand) -> anyhow::Result<()> {
    let (arguments, target) = split(command);
    let spread = match arguments.spread {
        BenchSpread::Uniform => Spread::Uniform,
        BenchSpread::Zipf => Spread::Zipf,
    };
    let tenants = Tenants::new(&arguments.prefix, arguments.tenants, spread)
        .map_err(|error| UsageError(format!("--prefix: {error}")))?;
    let endpoint = endpoint(settings, &arguments).await?;
    let bench = Bench { arguments, target, endpoint, tenants };
    let signals = StopSignals::listen()?;
    let stop = Stop::default();
    let stopping = async {
        signals.clone().came(1).await;
        stop.ask();
        signals.clone().came(2).await;
    };
    let report = tokio::select! {
        report = bench.measured(&stop) => report?,
        () = stopping => bail!("cut by a second signal"),
    };
    if settings.json {
        output::json(&bench.told(&report)?);
    } else {
        bench.show(&report);
    }
    if bench.arguments.strict && !report.generator.kept_schedule {
        bail!("the generator did not keep its schedule (--strict)");
    }
    Ok(())
}

fn split(command: BenchCommand) -> (BenchArgs, Target) {
    match command {
        BenchCommand::Api { load, meter } => (load, Target::Api { meter }),
        BenchCommand::Batch { load, meter, size } => (load, Target::Batch { meter, size }),
        BenchCommand::Gateway { load, model, prompt, stream } => {
            (load, Target::Gateway { model, prompt, streams: stream })
        }
    }
}

async fn endpoint(settings: &Settings, arguments: &BenchArgs) -> anyhow::Result<Endpoint> {
    let key = arguments.key.as_deref();
    if let Some(url) = &arguments.url {
        let key = key.unwrap_or_default();
        let found = Endpoint::resolve(url, key, arguments.allow_remote).await;
        return Ok(found.map_err(|error| UsageError(format!("--url: {error}")))?);
    }
    let server = running_server(settings)?;
    if server.tls_cert.is_some() {
        let url = server.url();
        bail!("{url} speaks TLS, and loads are sent over plain HTTP; load a server without TLS");
    }
    let address = server.address.parse().context("server.json has no address")?;
    Ok(Endpoint::at(address, key.unwrap_or(&server.key)))
}

impl Bench {
    async fn measured(&self, stop: &Stop) -> anyhow::Result<Report> {
        self.tenants.prepare(&self.endpoint, &self.arguments.plan).await?;
        shown::note(format_args!("{} are ready", self.tenants_shown()));
        let load = self.load(None);
        let alone = calibrate(&load, &self.target, &self.tenants, stop).await?;
        shown::note(format_args!(
            "against a responder that does nothing: {}",
            shown::alone(&alone)
        ));
        let report = self.run(self.load(Some(alone)), stop).await?;
        Ok(report)
    }

    async fn run(&self, load: Load, stop: &Stop) -> Result<Report, RunError> {
        let observe = |progress: &Progress| shown::progress(progress);
        earmark_load::run(&load, &self.endpoint, &self.target, &self.tenants, stop, observe).await
    }

    fn load(&self, calibration: Option<Calibration>) -> Load {
        let arguments = &self.arguments;
        Load {
            rate: arguments.rate,
            arrivals: match arguments.arrivals {
                BenchArrivals::Constant => Arrivals::Constant,
                BenchArrivals::Poisson => Arrivals::Poisson,
            },
            warm_up: arguments.warm_up,
            duration: arguments.duration,
            connections: arguments.connections,
            in_flight_max: arguments.in_flight,
            wait_max: arguments.wait,
            timeout: arguments.timeout,
            seed: arguments.seed,
            calibration,
        }
    }

    fn tenants_shown(&self) -> String {
        let (tenants, plan) = (&self.tenants, &self.arguments.plan);
        match tenants.count() {
            1 => format!("1 tenant, {}, on plan {plan}", tenants.first()),
            count => {
                let (first, last) = (tenants.first(), tenants.last());
                format!("{count} tenants, {first} to {last}, on plan {plan}")
            }
        }
    }

    /// The report, and what was asked for.
    fn told(&self, report: &Report) -> anyhow::Result<Value> {
        let Self { arguments, target, endpoint, tenants } = self;
        let mut told = json!({
            "target": target.name(),
            "url": endpoint.url(),
            "load": {
                "rate": arguments.rate,
                "arrivals": format!("{:?}", arguments.arrivals).to_lowercase(),
                "duration_s": arguments.duration.as_secs_f64(),
                "warm_up_s": arguments.warm_up.as_secs_f64(),
                "connections": arguments.connections,
                "in_flight_max": arguments.in_flight,
                "wait_max_s": arguments.wait.as_secs_f64(),
                "timeout_s": arguments.timeout.as_secs_f64(),
                "lifecycles_per_arrival": target.lifecycles(),
                "seed": arguments.seed,
            },
            "tenants": {
                "first": tenants.first(),
                "last": tenants.last(),
                "count": tenants.count(),
                "spread": format!("{:?}", arguments.spread).to_lowercase(),
                "plan": arguments.plan,
            },
        });
        if let (Value::Object(told), Value::Object(report)) =
            (&mut told, serde_json::to_value(report)?)
        {
            told.extend(report);
        }
        Ok(told)
    }
}
