//! `--auth-token`: `simple`, or `jwt` with its parameters, in etcd's form.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::duration;
use crate::auth::jwt::Method;

/// How long a JSON Web Token is good where no `ttl` is given.
const TIME_TO_LIVE_DEFAULT: Duration = Duration::from_secs(300);

/// Which tokens clients get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthToken {
    /// Random ones, remembered by the members.
    Simple,
    /// Signed ones.
    Jwt {
        /// How they are signed.
        method: Method,
        /// The file with the public key.
        public_key: Option<PathBuf>,
        /// The file with the private key, or the shared secret.
        private_key: Option<PathBuf>,
        /// How long they are good.
        time_to_live: Duration,
    },
}

impl FromStr for AuthToken {
    type Err = String;

    fn from_str(text: &str) -> Result<AuthToken, String> {
        let mut parts = text.split(',');
        match parts.next() {
            Some("simple") if text == "simple" => return Ok(AuthToken::Simple),
            Some("jwt") => {}
            _ => {
                return Err(
                    "expected simple, or jwt,sign-method=METHOD,priv-key=FILE,pub-key=FILE,ttl=TIME"
                        .to_owned(),
                );
            }
        }
        let (mut method, mut public_key, mut private_key, mut ttl) = (None, None, None, None);
        for part in parts {
            let (name, value) = part
                .split_once('=')
                .ok_or(format!("\"{part}\" is not a parameter and its value"))?;
            let slot = match name {
                "sign-method" => &mut method,
                "pub-key" => &mut public_key,
                "priv-key" => &mut private_key,
                "ttl" => &mut ttl,
                _ => return Err(format!("jwt has no parameter \"{name}\"")),
            };
            if slot.replace(value).is_some() {
                return Err(format!("\"{name}\" is given twice"));
            }
        }
        let name = method.ok_or("jwt needs a sign-method")?;
        let known = || {
            let names: Vec<_> = Method::ALL.iter().map(|(_, name)| *name).collect();
            format!("sign-method \"{name}\" is none of {}", names.join(", "))
        };
        let time_to_live = match ttl {
            Some(text) => duration::parse(text)?,
            None => TIME_TO_LIVE_DEFAULT,
        };
        if time_to_live.is_zero() {
            return Err("a ttl of zero makes every token invalid".to_owned());
        }
        Ok(AuthToken::Jwt {
            method: Method::by_name(name).ok_or_else(known)?,
            public_key: public_key.map(PathBuf::from),
            private_key: private_key.map(PathBuf::from),
            time_to_live,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_read() {
        assert_eq!("simple".parse(), Ok(AuthToken::Simple));
        let jwt = "jwt,pub-key=/p,priv-key=/s,sign-method=RS256,ttl=10m".parse();
        let expected = AuthToken::Jwt {
            method: Method::Rs256,
            public_key: Some("/p".into()),
            private_key: Some("/s".into()),
            time_to_live: Duration::from_secs(600),
        };
        assert_eq!(jwt, Ok(expected));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("", "expected simple"),
            ("simple,ttl=1s", "expected simple"),
            ("jwt", "needs a sign-method"),
            ("jwt,sign-method=none", "none of HS256"),
            ("jwt,sign-method=HS256,ttl=soon", "not a time"),
            ("jwt,sign-method=HS256,ttl=0", "zero"),
            ("jwt,sign-method=HS256,sign-method=HS256", "given twice"),
            ("jwt,sign-method=HS256,colour=red", "no parameter"),
            ("jwt,oops", "not a parameter"),
        ] {
            let error = text.parse::<AuthToken>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
