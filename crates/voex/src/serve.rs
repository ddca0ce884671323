//! `voex serve`: check everything, bind everything, say so, run, drain, stop.

use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time;
use tracing::level_filters::LevelFilter;
use voex_config::{Loaded, LogLevel, Report, Severity};
use voex_telemetry::{LogControl, LogFormat, READY_TARGET, start_logging};

use crate::addresses::Addresses;
use crate::drain::Asked;
use crate::host::Host;
use crate::notify::notify;
use crate::{cli, descriptors, settings_file};

/// Threads of the control plane; media has its own.
const CONTROL_THREADS: usize = 2;
/// Keeps the service manager from ending us in the middle of a drain: ten more seconds.
const STILL_STOPPING: &str = "EXTEND_TIMEOUT_USEC=10000000";

/// Why the process does not run.
pub(crate) enum Failure {
    /// The settings do not fit this host.
    Settings(Vec<String>),
    /// The system refused something.
    System(Vec<String>),
}

/// Runs until a signal. Exit code 2 for wrong settings, 1 when the system refuses, else 0.
pub(crate) fn serve(args: &cli::Serve) -> ExitCode {
    let started = Instant::now();
    let loaded = match settings_file::load(args.settings.as_deref(), &args.sets, args.strict) {
        Ok(loaded) => loaded,
        Err(report) => {
            eprint!("{report}");
            return ExitCode::from(2);
        }
    };
    let log = loaded.settings.log;
    let format = match log.format {
        voex_config::LogFormat::Text => LogFormat::Text,
        voex_config::LogFormat::Json => LogFormat::Json,
    };
    let logging = start_logging(level(log.level), format);
    say(&loaded.report);
    let runtime = match Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(Failure::System(vec![format!(
                "no threads for the control plane: {error}"
            )]));
        }
    };
    match runtime.block_on(run(args, loaded, &logging, started)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(failure),
    }
}

async fn run(args: &cli::Serve, mut loaded: Loaded, logging: &LogControl, started: Instant) -> Result<(), Failure> {
    let interfaces = if_addrs::get_if_addrs()
        .map_err(|error| Failure::System(vec![format!("the interfaces of this host are not told: {error}")]))?;
    let addresses = Addresses::of(&loaded.settings, &interfaces).map_err(Failure::Settings)?;
    descriptors::raise_limit(&loaded.settings, &addresses);
    let mut signals = Signals::new()?;
    let mut host = Host::start(&loaded.settings, addresses, args.settings.is_none(), logging, started).await?;
    tracing::info!(target: READY_TARGET, "ready after {} ms", started.elapsed().as_millis());
    notify("READY=1");

    let mut health = time::interval(Duration::from_secs(1));
    let drain = host.drain.clone();
    let mut draining = false;
    loop {
        tokio::select! {
            _ = signals.hang_up.recv() => reload(args, &mut loaded, &mut host, logging).await,
            _ = signals.terminate.recv() => drain.ask(Asked::BySignal),
            _ = signals.interrupt.recv() => break,
            () = drain.begun(), if !draining => {
                draining = true;
                begin_to_drain(&host).await;
            }
            () = drain.over(), if draining => break,
            () = host.rules_changed() => host.reconfigure_turn().await,
            _ = health.tick() => {
                host.state.workers_running.store(host.workers_running(), Relaxed);
                host.watch_certificate().await;
                if draining {
                    notify(STILL_STOPPING);
                }
            }
        }
    }
    notify("STOPPING=1");
    tracing::info!("stopping");
    host.stop()
        .await
        .map_err(|panicked| Failure::System(vec![panicked.to_string()]))?;
    tracing::info!("stopped");
    Ok(())
}

/// Takes no new work.
async fn begin_to_drain(host: &Host) {
    notify("STOPPING=1");
    host.refuse_new().await;
    tracing::info!(
        "draining: {} calls, conferences and allocations are in use; at most {} s",
        host.drain.in_use(),
        host.drain.time_left(Instant::now()).unwrap_or_default().as_secs()
    );
}

/// Reads the settings again and takes over what can change while running. A wrong file leaves everything as it was.
async fn reload(args: &cli::Serve, loaded: &mut Loaded, host: &mut Host, logging: &LogControl) {
    notify("RELOADING=1");
    match settings_file::load(args.settings.as_deref(), &args.sets, args.strict) {
        Err(report) => {
            say(&report);
            tracing::error!("reload: the settings are wrong; those in force stay");
        }
        Ok(fresh) => {
            say(&fresh.report);
            let reload = loaded.take_over(&fresh);
            logging.set_level(level(loaded.settings.log.level));
            host.reload(&loaded.settings).await;
            tracing::info!(
                "reload: taken over: {}; only after a restart: {}",
                names(&reload.taken),
                names(&reload.waiting)
            );
        }
    }
    notify("READY=1");
}

fn names(keys: &[&str]) -> String {
    if keys.is_empty() {
        "nothing".to_owned()
    } else {
        keys.join(", ")
    }
}

fn say(report: &Report) {
    for (severity, line) in report.lines() {
        match severity {
            Severity::Notice => tracing::info!("{line}"),
            Severity::Warning => tracing::warn!("{line}"),
            Severity::Error => tracing::error!("{line}"),
        }
    }
}

fn fail(failure: Failure) -> ExitCode {
    let (code, lines) = match failure {
        Failure::Settings(lines) => (2, lines),
        Failure::System(lines) => (1, lines),
    };
    lines.iter().for_each(|line| eprintln!("error: {line}"));
    ExitCode::from(code)
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let on =
            |kind| signal(kind).map_err(|error| Failure::System(vec![format!("signals cannot be received: {error}")]));
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hang_up: on(SignalKind::hangup())?,
        })
    }
}
