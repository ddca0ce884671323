//! Where a Redis is: coturn's connection string or a `redis://` URL.

use std::fmt;

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
    /// Seconds to wait for a connection.
    pub connect_timeout_s: u32,
}

impl Default for RedisTarget {
    /// `ip=localhost dbname=1 port=6379`.
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: 6379,
            database: 1,
            user: None,
            password: None,
            connect_timeout_s: 5,
        }
    }
}

impl RedisTarget {
    /// Reads `ip=H port=P dbname=N password=S user=U connect_timeout=T` in any order, or
    /// `redis://[user[:password]@]host[:port][/N]`.
    ///
    /// # Errors
    /// With what is allowed, never with the password.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.trim().strip_prefix("redis://") {
            Some(rest) => Self::parse_url(rest),
            None => Self::parse_words(text),
        }
    }

    fn parse_words(text: &str) -> Result<Self, String> {
        let mut target = Self::default();
        for word in text.split_whitespace() {
            let Some((name, value)) = word.split_once('=') else {
                return Err(
                    "each part must be NAME=VALUE, as in `ip=localhost password=SECRET dbname=1 port=6379`".into(),
                );
            };
            match name {
                "ip" | "host" => target.host = value.to_owned(),
                "port" => target.port = number(name, value)?,
                "dbname" | "db" | "database" => target.database = number(name, value)?,
                "user" => target.user = some(value),
                "password" => target.password = some(value).map(Secret::new),
                "connect_timeout" => target.connect_timeout_s = number(name, value)?,
                _ => {
                    return Err(format!(
                        "`{name}` is not known here; allowed are ip, host, port, dbname, user, password, connect_timeout"
                    ));
                }
            }
        }
        target.checked()
    }

    fn parse_url(rest: &str) -> Result<Self, String> {
        let mut target = Self {
            database: 0,
            ..Self::default()
        };
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (Some(credentials), rest),
            None => (None, rest),
        };
        if let Some(credentials) = credentials {
            let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
            target.user = some(user);
            target.password = some(password).map(Secret::new);
        }
        let (address, database) = rest.split_once('/').unwrap_or((rest, ""));
        if !database.is_empty() {
            target.database = number("database", database)?;
        }
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, number("port", port)?),
            _ => (address, 6379),
        };
        target.host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        target.port = port;
        target.checked()
    }

    fn checked(self) -> Result<Self, String> {
        if self.host.is_empty() {
            return Err("the host is empty; write ip=ADDRESS".to_owned());
        }
        if self.port == 0 {
            return Err("port 0 cannot be connected to; the usual one is 6379".to_owned());
        }
        Ok(self)
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
        Ok(())
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{name}={value} is not a number that fits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coturn_words_come_in_any_order_and_over_line_breaks() {
        let target = RedisTarget::parse("password=s3=x port=6380\n  dbname=2 host=10.0.0.1 connect_timeout=9").unwrap();
        assert_eq!(target.to_string(), "ip=10.0.0.1 port=6380 dbname=2 password=***");
        assert_eq!(target.password.unwrap().reveal(), "s3=x");
    }

    #[test]
    fn urls_with_and_without_credentials_are_read() {
        for (url, shown) in [
            (
                "redis://:secret@172.17.0.1:6379/1",
                "ip=172.17.0.1 port=6379 dbname=1 password=***",
            ),
            ("redis://172.17.0.1:6379/1", "ip=172.17.0.1 port=6379 dbname=1"),
            ("redis://app:p@host", "ip=host port=6379 dbname=0 user=app password=***"),
            ("redis://[2001:db8::1]:7000/3", "ip=2001:db8::1 port=7000 dbname=3"),
        ] {
            assert_eq!(RedisTarget::parse(url).unwrap().to_string(), shown, "{url}");
        }
    }

    #[test]
    fn a_refusal_says_what_is_allowed_and_never_the_password() {
        for bad in ["password=topsecret prot=1", "topsecret", "password=topsecret port=x"] {
            assert!(!RedisTarget::parse(bad).unwrap_err().contains("topsecret"), "{bad}");
        }
    }
}
