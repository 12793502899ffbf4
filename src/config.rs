//! The environment of the contract: a flag of the same name wins over the variable, the variable over `.env`.
//!
//! A wrong value stops the start with one line that names the variable, the value and what is allowed. An empty value
//! counts as not set, as compose files leave it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;
use tracing_subscriber::EnvFilter;

use crate::http::peer::Proxies;
use crate::http::stream::Origins;

/// What every command may be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the truth is.
    pub database: Database,
    /// `REDIS_URL`; `None` is a single node.
    pub redis_url: Option<String>,
    /// `SPACALL_LISTEN`.
    pub listen: SocketAddr,
    /// `SPACALL_LOG`: a tracing filter.
    pub log: String,
    /// `SPACALL_LOG_FORMAT`.
    pub log_format: LogFormat,
    /// `SPACALL_RATE_LIMIT`: requests per second and token; 0 is none.
    pub rate_limit: u32,
    /// `SPACALL_ORIGINS`: web pages that may open the websocket, besides the service's own.
    pub origins: Origins,
    /// `SPACALL_TRUSTED_PROXIES`: whose `X-Forwarded-For` is believed.
    pub proxies: Proxies,
    /// `SPACALL_TOKEN`: an admin's token, for `audit`.
    pub token: Option<Secret>,
}

/// Which database.
#[derive(Clone, Debug)]
pub enum Database {
    /// `DATABASE_URL`: a server that others run.
    Server {
        /// As given, for `pg_dump`.
        url: Secret,
        /// The same, understood.
        options: Box<PgConnectOptions>,
    },
    /// A private cluster in this directory (`SPACALL_DATA_DIR`).
    Private(PathBuf),
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A string that is not printed by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The string itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// One value that will not do. Its text is the line to print; the exit code is 2.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ConfigError {
    /// A variable or flag has a wrong value.
    #[error("{name} is `{value}`, allowed: {allowed}")]
    Value {
        /// The variable, or the flag if that was given.
        name: String,
        /// What it was set to; a password in it is left out.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// `.env` is there and cannot be understood.
    #[error("{path}: {why}, allowed: lines NAME=VALUE")]
    DotEnv {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// The flags, as given. The help of each is that of its variable.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Flags {
    /// PostgreSQL with PostGIS, postgresql://user:password@host:port/database; without it a private cluster is run
    /// [env: DATABASE_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Where the private cluster is kept [env: SPACALL_DATA_DIR] [default: ./.spacall]
    #[arg(long, global = true, value_name = "DIR", alias = "spacall-data-dir")]
    pub data_dir: Option<String>,
    /// Redis, for several nodes; without it a single node [env: REDIS_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub redis_url: Option<String>,
    /// Address to listen on [env: SPACALL_LISTEN] [default: 127.0.0.1:8080]
    #[arg(long, global = true, value_name = "ADDR:PORT", alias = "spacall-listen")]
    pub listen: Option<String>,
    /// Tracing filter, e.g. info,spacall=debug [env: SPACALL_LOG] [default: info]
    #[arg(long, global = true, value_name = "FILTER", alias = "spacall-log")]
    pub log: Option<String>,
    /// text or json [env: SPACALL_LOG_FORMAT] [default: text]
    #[arg(long, global = true, value_name = "FORMAT", alias = "spacall-log-format")]
    pub log_format: Option<String>,
    /// Requests per second and token, 0 for no limit [env: SPACALL_RATE_LIMIT] [default: 100]
    #[arg(long, global = true, value_name = "N", alias = "spacall-rate-limit")]
    pub rate_limit: Option<String>,
    /// Web pages that may open the websocket, besides the service's own: https://HOST or https://HOST:PORT, with commas
    /// between; apps need none [env: SPACALL_ORIGINS]
    #[arg(long, global = true, value_name = "ORIGINS", alias = "spacall-origins")]
    pub origins: Option<String>,
    /// Proxies before the service whose X-Forwarded-For says from where somebody logs in: addresses or networks, with commas
    /// between [env: SPACALL_TRUSTED_PROXIES]
    #[arg(long, global = true, value_name = "NETWORKS", alias = "spacall-trusted-proxies")]
    pub trusted_proxies: Option<String>,
}

impl Config {
    /// Flags, then the process's environment, then `.env` of the current directory. `default_log` is the filter of who
    /// sets none.
    ///
    /// # Errors
    /// The first wrong value.
    pub fn load(flags: &Flags, default_log: &str) -> Result<Self, ConfigError> {
        let mut variables = dot_env(Path::new(".env"))?;
        variables
            .extend(std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, lossy(&value)))));
        Self::from(flags, &variables, default_log)
    }

    /// [`Config::load`] from variables that are given.
    ///
    /// # Errors
    /// The first wrong value.
    pub fn from(flags: &Flags, variables: &BTreeMap<String, String>, default_log: &str) -> Result<Self, ConfigError> {
        let given = Given { variables };
        let data_dir = given.value("SPACALL_DATA_DIR", "--data-dir", &flags.data_dir);
        let database = match given.value("DATABASE_URL", "--database-url", &flags.database_url) {
            Some(url) => server(&url)?,
            None => Database::Private(data_dir.map_or_else(|| PathBuf::from(".spacall"), |d| PathBuf::from(d.text))),
        };
        let redis_url = given.value("REDIS_URL", "--redis-url", &flags.redis_url);
        if let Some(url) = &redis_url
            && !["redis://", "rediss://"].iter().any(|scheme| url.text.starts_with(scheme))
        {
            return Err(url.refused("redis://[user:password@]host[:port][/number], or rediss:// with TLS"));
        }
        Ok(Self {
            database,
            redis_url: redis_url.map(|url| url.text),
            listen: given.parsed("SPACALL_LISTEN", "--listen", &flags.listen, "127.0.0.1:8080", |text| {
                let address = text.strip_prefix("localhost:").map_or_else(|| text.into(), |p| format!("127.0.0.1:{p}"));
                address.parse().ok().ok_or("ADDRESS:PORT, as in 127.0.0.1:8080 or [::]:8080")
            })?,
            log: given.parsed("SPACALL_LOG", "--log", &flags.log, default_log, |text| {
                EnvFilter::from_str(text).map(|_| text.to_owned()).map_err(
                    |_| "LEVEL or TARGET=LEVEL, separated by commas; LEVEL: off, error, warn, info, debug, trace",
                )
            })?,
            log_format: given.parsed(
                "SPACALL_LOG_FORMAT",
                "--log-format",
                &flags.log_format,
                "text",
                |text| match text {
                    "text" => Ok(LogFormat::Text),
                    "json" => Ok(LogFormat::Json),
                    _ => Err("text, json"),
                },
            )?,
            rate_limit: given.parsed("SPACALL_RATE_LIMIT", "--rate-limit", &flags.rate_limit, "100", |text| {
                text.parse().ok().filter(|n| *n <= 1_000_000).ok_or("0 (no limit) to 1000000 requests per second")
            })?,
            origins: match given.value("SPACALL_ORIGINS", "--origins", &flags.origins) {
                Some(value) => Origins::parse(&value.text).ok_or_else(|| {
                    value.refused("https://HOST[:PORT] or http://HOST[:PORT], separated by commas, or * for every page")
                })?,
                None => Origins::default(),
            },
            proxies: match given.value("SPACALL_TRUSTED_PROXIES", "--trusted-proxies", &flags.trusted_proxies) {
                Some(value) => Proxies::parse(&value.text)
                    .ok_or_else(|| value.refused("ADDRESS or ADDRESS/BITS, as in 10.0.0.0/8, separated by commas"))?,
                None => Proxies::default(),
            },
            token: given.value("SPACALL_TOKEN", "", &None).map(|t| Secret(t.text)),
        })
    }
}

struct Given<'a> {
    variables: &'a BTreeMap<String, String>,
}

/// A value and who gave it.
struct Value {
    name: String,
    text: String,
}

impl Given<'_> {
    fn value(&self, variable: &str, flag: &str, given: &Option<String>) -> Option<Value> {
        let from_flag = given.as_ref().map(|text| Value { name: flag.into(), text: text.clone() });
        let from_environment = || Some(Value { name: variable.into(), text: self.variables.get(variable)?.clone() });
        from_flag.or_else(from_environment).filter(|value| !value.text.is_empty())
    }

    fn parsed<T>(
        &self,
        variable: &str,
        flag: &str,
        given: &Option<String>,
        default: &str,
        parse: impl Fn(&str) -> Result<T, &'static str>,
    ) -> Result<T, ConfigError> {
        let value =
            self.value(variable, flag, given).unwrap_or_else(|| Value { name: variable.into(), text: default.into() });
        parse(&value.text).map_err(|allowed| value.refused(allowed))
    }
}

impl Value {
    fn refused(&self, allowed: &'static str) -> ConfigError {
        ConfigError::Value { name: self.name.clone(), value: without_password(&self.text), allowed }
    }
}

fn server(url: &Value) -> Result<Database, ConfigError> {
    const ALLOWED: &str = "postgresql://[user[:password]@]host[:port]/database[?sslmode=...]";
    let known = ["postgresql://", "postgres://"].iter().any(|scheme| url.text.starts_with(scheme));
    let options = PgConnectOptions::from_str(&url.text).ok().filter(|_| known).ok_or_else(|| url.refused(ALLOWED))?;
    Ok(Database::Server { url: Secret(url.text.clone()), options: Box::new(options) })
}

/// `postgresql://me:secret@host/db` -> `postgresql://me:***@host/db`
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let Some((user, host)) = rest.rsplit_once('@') else { return text.to_owned() };
    match user.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:***@{host}"),
        None => text.to_owned(),
    }
}

fn dot_env(path: &Path) -> Result<BTreeMap<String, String>, ConfigError> {
    let fault = |e: dotenvy::Error| ConfigError::DotEnv { path: path.to_owned(), why: e.to_string() };
    match dotenvy::from_path_iter(path) {
        Ok(lines) => lines.collect::<Result<_, _>>().map_err(fault),
        Err(e) if e.not_found() => Ok(BTreeMap::new()),
        Err(e) => Err(fault(e)),
    }
}

/// A value that is not UTF-8 is refused by its parser, which names it.
fn lossy(value: &std::ffi::OsStr) -> String {
    value.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let variables = variables.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Config::from(&Flags::default(), &variables, "info")
    }

    #[test]
    fn nothing_set_is_a_private_cluster_on_loopback() {
        let config = with(&[("REDIS_URL", "")]).unwrap();
        assert!(matches!(&config.database, Database::Private(dir) if dir == Path::new(".spacall")));
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!((config.redis_url, config.rate_limit, config.log_format), (None, 100, LogFormat::Text));
    }

    #[test]
    fn a_flag_wins_over_its_variable_and_is_named_when_wrong() {
        let variables = BTreeMap::from([("SPACALL_LISTEN".to_owned(), "0.0.0.0:1".to_owned())]);
        let flags = |listen: &str| Flags { listen: Some(listen.into()), ..Flags::default() };
        assert_eq!(Config::from(&flags("localhost:0"), &variables, "info").unwrap().listen.to_string(), "127.0.0.1:0");
        let error = Config::from(&flags("nowhere"), &variables, "info").unwrap_err().to_string();
        assert!(error.starts_with("--listen is `nowhere`, allowed: ADDRESS:PORT"), "{error}");
    }

    #[test]
    fn each_wrong_value_is_one_line_with_the_variable_the_value_and_what_is_allowed() {
        for (name, value, allowed) in [
            ("DATABASE_URL", "mysql://localhost/x", "postgresql://"),
            ("DATABASE_URL", "postgresql://host:port/x", "postgresql://"),
            ("REDIS_URL", "localhost:6379", "redis://"),
            ("SPACALL_LISTEN", "8080", "ADDRESS:PORT"),
            ("SPACALL_LOG", "spacall=loud", "LEVEL"),
            ("SPACALL_LOG_FORMAT", "xml", "text, json"),
            ("SPACALL_RATE_LIMIT", "-1", "0 (no limit)"),
            ("SPACALL_ORIGINS", "app.example", "https://HOST"),
            ("SPACALL_TRUSTED_PROXIES", "10.0.0.0/33", "ADDRESS or ADDRESS/BITS"),
        ] {
            let error = with(&[(name, value)]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{name} is `{value}`, allowed: {allowed}")), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_password_is_never_printed() {
        let error = with(&[("DATABASE_URL", "postgresql://me:hunter2@host:x/db")]).unwrap_err().to_string();
        assert!(!error.contains("hunter2") && error.contains("me:***@host"), "{error}");
        let config =
            with(&[("DATABASE_URL", "postgresql://me:hunter2@host/db"), ("SPACALL_TOKEN", "hunter2")]).unwrap();
        assert!(!format!("{:?}", (&config.token,)).contains("hunter2"));
    }

    #[test]
    fn a_broken_dot_env_is_named() {
        let path = std::env::temp_dir().join(format!("spacall-dotenv-{}", std::process::id()));
        std::fs::write(&path, "SPACALL_LISTEN=127.0.0.1:9\n'broken\n").unwrap();
        let error = dot_env(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("spacall-dotenv") && error.contains("NAME=VALUE"), "{error}");
    }
}
