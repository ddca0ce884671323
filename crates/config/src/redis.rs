//! Where a Redis is: coturn's connection string, or a `redis://` or `rediss://` URL.

use std::fmt;
use std::path::PathBuf;

use crate::Secret;

/// Address and credentials of a Redis database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RedisTarget {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Number of the database.
    pub database: u32,
    /// User name (Redis 6 ACL).
    pub user: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// Seconds to wait for a connection; at least 1.
    pub connect_timeout_s: u32,
    /// How the connection is encrypted; `None` is plain TCP.
    pub tls: Option<RedisTls>,
}

/// How a connection to Redis is encrypted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RedisTls {
    /// Certificates of authorities, PEM; with neither file nor folder, those of the system.
    pub ca: Option<PathBuf>,
    /// Folder of such files.
    pub ca_folder: Option<PathBuf>,
    /// Our certificate chain, PEM; the key stands beside it.
    pub certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// Name that the certificate is checked against, and that the server is told (SNI); `None` = the host.
    pub server_name: Option<String>,
    /// Whether the server's certificate is checked.
    pub verify: bool,
}

impl Default for RedisTarget {
    /// What coturn takes where its connection string says nothing: `ip=127.0.0.1 port=6379 dbname=0`.
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 6379,
            database: 0,
            user: None,
            password: None,
            connect_timeout_s: 5,
            tls: None,
        }
    }
}

impl Default for RedisTls {
    /// Certificates are checked, by the authorities of the system.
    fn default() -> Self {
        Self {
            ca: None,
            ca_folder: None,
            certificate: None,
            key: None,
            server_name: None,
            verify: true,
        }
    }
}

/// What the words of a connection string say; a word and its aliases mean the same (coturn's `redis-userdb`).
#[derive(Clone, Copy)]
enum Meaning {
    Host,
    Database,
    User,
    Password,
    Port,
    ConnectTimeout,
    Tls,
    Ca,
    CaFolder,
    Certificate,
    Key,
    ServerName,
    Verify,
}

const WORDS: &[(Meaning, &[&str])] = &[
    (Meaning::Host, &["ip", "host", "addr", "ipaddr", "hostaddr"]),
    (Meaning::Port, &["port", "p"]),
    (Meaning::Database, &["dbname", "db", "database"]),
    (Meaning::User, &["user", "uname", "name", "username"]),
    (Meaning::Password, &["password", "pwd", "passwd", "secret"]),
    (Meaning::ConnectTimeout, &["connect_timeout", "timeout"]),
    (Meaning::Tls, &["tls", "ssl"]),
    (Meaning::Ca, &["ca", "cacert", "tls-ca"]),
    (Meaning::CaFolder, &["capath", "tls-capath"]),
    (Meaning::Certificate, &["cert", "tls-cert"]),
    (Meaning::Key, &["clientkey", "tls-key"]),
    (Meaning::ServerName, &["sni", "servername", "tls-sni"]),
    (Meaning::Verify, &["verify", "tls-verify"]),
];

impl RedisTarget {
    /// What VoEx takes where its settings file names no user database: `ip=localhost port=6379 dbname=1`.
    pub fn of_voex() -> Self {
        Self {
            host: "localhost".to_owned(),
            database: 1,
            ..Self::default()
        }
    }

    /// Reads coturn's `ip=H port=P dbname=N password=S ...`, in any order and with its aliases, or
    /// `redis://[[user]:password@]host[:port][/N]`, or the same as `rediss://` for TLS.
    ///
    /// # Errors
    /// With what is allowed, never with the password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let target = match text.split_once("://") {
            Some(("redis", rest)) => Self::parse_url(rest, None),
            Some(("rediss", rest)) => Self::parse_url(rest, Some(RedisTls::default())),
            _ => Self::parse_words(text),
        };
        target.and_then(Self::checked)
    }

    fn parse_words(text: &str) -> Result<Self, String> {
        let (mut target, mut tls, mut encrypted) = (Self::default(), RedisTls::default(), false);
        for (number, word) in text.split_whitespace().enumerate() {
            let Some((name, value)) = word.split_once('=') else {
                // The word may be a piece of a password; only a known name is safe to repeat.
                let named = match meaning(word) {
                    Some(_) => format!("`{word}`"),
                    None => format!("part {}", number + 1),
                };
                return Err(format!(
                    "{named} has no `=`; each part must be NAME=VALUE, as in `ip=localhost password=SECRET dbname=1 \
                     port=6379`"
                ));
            };
            match meaning(name).ok_or_else(|| unknown_word(name))? {
                Meaning::Host => value.clone_into(&mut target.host),
                Meaning::Port => target.port = parsed(name, value)?,
                Meaning::Database => target.database = parsed(name, value)?,
                Meaning::User => target.user = some(value),
                Meaning::Password => target.password = some(value).map(Secret::new),
                Meaning::ConnectTimeout => target.connect_timeout_s = parsed(name, value)?,
                Meaning::Tls => encrypted = is_one_of(value, &["1", "true", "on", "yes"]),
                Meaning::Ca => tls.ca = some(value).map(PathBuf::from),
                Meaning::CaFolder => tls.ca_folder = some(value).map(PathBuf::from),
                Meaning::Certificate => tls.certificate = some(value).map(PathBuf::from),
                Meaning::Key => tls.key = some(value).map(PathBuf::from),
                Meaning::ServerName => tls.server_name = some(value),
                Meaning::Verify => tls.verify = !is_one_of(value, &["none", "0", "false"]),
            }
        }
        target.tls = encrypted.then_some(tls);
        Ok(target)
    }

    fn parse_url(rest: &str, tls: Option<RedisTls>) -> Result<Self, String> {
        let mut target = Self { tls, ..Self::default() };
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (Some(credentials), rest),
            None => (None, rest),
        };
        if let Some(credentials) = credentials {
            let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
            target.user = some(&percent_decoded(user)?);
            target.password = some(&percent_decoded(password)?).map(Secret::new);
        }
        if rest.contains(['?', '#']) {
            return Err("a URL ends with the number of the database: redis://:SECRET@HOST:6379/1".to_owned());
        }
        let (address, database) = rest.split_once('/').unwrap_or((rest, ""));
        if !database.is_empty() {
            target.database = parsed("database", database)?;
        }
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, parsed("port", port)?),
            _ => (address, 6379),
        };
        target.host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        target.port = port;
        Ok(target)
    }

    fn checked(self) -> Result<Self, String> {
        if self.host.is_empty() {
            return Err("the host is empty; write ip=ADDRESS".to_owned());
        }
        if self.port == 0 {
            return Err("port 0 cannot be connected to; the usual one is 6379".to_owned());
        }
        if self.connect_timeout_s == 0 {
            return Err("connect_timeout=0 leaves no time to connect; write at least 1".to_owned());
        }
        if self.user.is_some() && self.password.is_none() {
            return Err("a user without a password cannot log in; write password=SECRET beside it".to_owned());
        }
        match &self.tls {
            Some(tls) if tls.certificate.is_some() != tls.key.is_some() => {
                Err("cert and clientkey need each other; write both or neither".to_owned())
            }
            _ => Ok(self),
        }
    }
}

impl fmt::Display for RedisTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ip={} port={} dbname={}", self.host, self.port, self.database)?;
        if let Some(user) = &self.user {
            write!(f, " user={user}")?;
        }
        if self.password.is_some() {
            f.write_str(" password=***")?;
        }
        match &self.tls {
            Some(tls) => write!(f, "{tls}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for RedisTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(" tls=1")?;
        let paths = [
            ("ca", &self.ca),
            ("capath", &self.ca_folder),
            ("cert", &self.certificate),
            ("clientkey", &self.key),
        ];
        for (name, path) in paths {
            if let Some(path) = path {
                write!(f, " {name}={}", path.display())?;
            }
        }
        if let Some(name) = &self.server_name {
            write!(f, " sni={name}")?;
        }
        match self.verify {
            true => Ok(()),
            false => f.write_str(" verify=none"),
        }
    }
}

fn meaning(word: &str) -> Option<Meaning> {
    let (meaning, _) = WORDS.iter().find(|(_, aliases)| aliases.contains(&word))?;
    Some(*meaning)
}

fn unknown_word(name: &str) -> String {
    let allowed: Vec<&str> = WORDS.iter().map(|(_, aliases)| aliases[0]).collect();
    format!("`{name}` is not known here; allowed are {}", allowed.join(", "))
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn is_one_of(value: &str, words: &[&str]) -> bool {
    words.iter().any(|word| value.eq_ignore_ascii_case(word))
}

fn parsed<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{name}={value} is not a number that fits"))
}

/// Undoes percent-encoding (RFC 3986 §2.1).
fn percent_decoded(text: &str) -> Result<String, String> {
    const WRONG: &str = "a `%` in user or password must begin a %XX; write %25 for the sign itself";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let digits = digits.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.ok_or(WRONG)?);
        rest = &behind[2..];
    }
    String::from_utf8(bytes).map_err(|_| WRONG.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        RedisTarget::parse(text).unwrap().to_string()
    }

    #[test]
    fn coturn_words_come_in_any_order_and_over_line_breaks() {
        let target = RedisTarget::parse("password=s3=x port=6380\n  dbname=2 host=10.0.0.1 connect_timeout=9").unwrap();
        assert_eq!(target.to_string(), "ip=10.0.0.1 port=6380 dbname=2 password=***");
        assert_eq!(target.password.unwrap().reveal(), "s3=x");
        assert_eq!(target.connect_timeout_s, 9);
    }

    #[test]
    fn every_alias_of_coturn_means_what_its_first_name_means() {
        let golden = include_str!("../tests/golden/redis-words.txt");
        let mut lines = Vec::new();
        for (_, aliases) in WORDS {
            let value = match aliases[0] {
                "port" | "dbname" | "connect_timeout" => "7",
                "tls" => "yes",
                "verify" => "none",
                _ => "x",
            };
            let of = |alias: &str| match alias {
                "tls" | "ssl" => format!("{alias}={value}"),
                "user" | "uname" | "name" | "username" => format!("{alias}={value} pwd=y"),
                "cert" | "tls-cert" => format!("tls=1 {alias}={value} clientkey=y"),
                "clientkey" | "tls-key" => format!("tls=1 {alias}={value} cert=y"),
                _ => format!("tls=1 {alias}={value}"),
            };
            let meant = RedisTarget::parse(&of(aliases[0])).unwrap();
            for alias in *aliases {
                assert_eq!(RedisTarget::parse(&of(alias)).unwrap(), meant, "{alias}");
            }
            lines.push(format!("{} -> {meant}\n", aliases.join(" ")));
        }
        assert_eq!(lines.concat(), golden);
    }

    #[test]
    fn what_is_not_said_is_what_coturn_takes() {
        assert_eq!(shown(""), "ip=127.0.0.1 port=6379 dbname=0");
        assert_eq!(shown("cacert=/ca.pem"), "ip=127.0.0.1 port=6379 dbname=0");
    }

    #[test]
    fn tls_is_on_by_four_words_and_checking_off_by_three() {
        for (word, on) in [
            ("1", true),
            ("TRUE", true),
            ("on", true),
            ("yes", true),
            ("0", false),
            ("no", false),
        ] {
            assert_eq!(
                RedisTarget::parse(&format!("ssl={word}")).unwrap().tls.is_some(),
                on,
                "{word}"
            );
        }
        for (word, checked) in [("none", false), ("0", false), ("False", false), ("1", true)] {
            let target = RedisTarget::parse(&format!("tls=1 verify={word}")).unwrap();
            assert_eq!(target.tls.unwrap().verify, checked, "{word}");
        }
    }

    #[test]
    fn urls_with_and_without_credentials_are_read() {
        for (url, as_words) in [
            (
                "redis://:secret@172.17.0.1:6379/1",
                "ip=172.17.0.1 port=6379 dbname=1 password=***",
            ),
            ("redis://172.17.0.1:6379/1", "ip=172.17.0.1 port=6379 dbname=1"),
            ("redis://app:p@host", "ip=host port=6379 dbname=0 user=app password=***"),
            ("redis://[2001:db8::1]:7000/3", "ip=2001:db8::1 port=7000 dbname=3"),
            (
                "rediss://:p@redis.example/2",
                "ip=redis.example port=6379 dbname=2 password=*** tls=1",
            ),
        ] {
            assert_eq!(shown(url), as_words, "{url}");
        }
    }

    #[test]
    fn signs_of_a_url_in_its_password_are_percent_encoded() {
        let target = RedisTarget::parse("redis://:a%40b%2Fc%25%D1%8F@host").unwrap();
        assert_eq!(target.password.unwrap().reveal(), "a@b/c%я");
        for wrong in ["redis://:a%4@host", "redis://:a%zz@host", "redis://:%ff@host"] {
            assert!(RedisTarget::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_word_that_is_not_known_is_named() {
        let named = |text: &str| RedisTarget::parse(text).unwrap_err();
        assert!(named("ip=a prot=1").starts_with("`prot` is not known here"));
        assert!(named("ip=a port").starts_with("`port` has no `=`"));
        assert!(named("ip=a password=two words").starts_with("part 3 has no `=`"));
        assert!(named("user=a").contains("password"));
        assert!(named("tls=1 cert=a").contains("clientkey"));
    }

    #[test]
    fn a_refusal_says_what_is_allowed_and_never_the_password() {
        for bad in [
            "password=topsecret prot=1",
            "topsecret",
            "password=topsecret port=x",
            "redis://:topsecret@h:x",
            "redis://:topsecret@h/1?a=b",
        ] {
            assert!(!RedisTarget::parse(bad).unwrap_err().contains("topsecret"), "{bad}");
        }
    }
}
