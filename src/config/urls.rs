//! The URLs and the initial cluster that flags are made of, checked as etcd checks them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A URL of a member: a scheme, a host and a port, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberUrl {
    /// `https` instead of `http`.
    pub tls: bool,
    /// `host:port`, an IPv6 host in brackets.
    pub address: String,
}

impl FromStr for MemberUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<MemberUrl, String> {
        let text = text.trim();
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| format!("\"{text}\" has no scheme: expected http://host:port"))?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            "unix" | "unixs" => {
                return Err(format!("\"{text}\": unix sockets are not supported"));
            }
            _ => return Err(format!("\"{text}\": the scheme must be http or https")),
        };
        if rest.contains(['/', '?', '#']) {
            return Err(format!(
                "\"{text}\" must not contain a path or anything after it"
            ));
        }
        if rest.contains('@') {
            return Err(format!("\"{text}\" must not contain a user"));
        }
        check_address(rest)
            .ok_or_else(|| format!("\"{text}\" does not have the form http://host:port"))?;
        Ok(MemberUrl {
            tls,
            address: rest.to_owned(),
        })
    }
}

/// `Some` when `address` is `host:port`, an IPv6 host in brackets.
fn check_address(address: &str) -> Option<()> {
    let (host, port) = address.rsplit_once(':')?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let number: u16 = port.parse().ok()?;
    let host_is_good = match host.strip_prefix('[') {
        Some(inner) => inner
            .strip_suffix(']')?
            .parse::<std::net::Ipv6Addr>()
            .is_ok(),
        None => {
            !host.is_empty()
                && host
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'))
        }
    };
    (digits && number != 0 && host_is_good).then_some(())
}

impl fmt::Display for MemberUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.address)
    }
}

/// One or more URLs separated by commas; sorted, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlList(Vec<MemberUrl>);

impl UrlList {
    /// The URLs, sorted.
    pub fn urls(&self) -> &[MemberUrl] {
        &self.0
    }

    /// The URLs as text, sorted.
    pub fn to_strings(&self) -> Vec<String> {
        self.0.iter().map(MemberUrl::to_string).collect()
    }

    fn new(mut urls: Vec<MemberUrl>) -> Result<UrlList, String> {
        urls.sort_by_key(MemberUrl::to_string);
        match urls.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(format!("{} is given twice", pair[0])),
            None => Ok(UrlList(urls)),
        }
    }
}

impl FromStr for UrlList {
    type Err = String;

    fn from_str(text: &str) -> Result<UrlList, String> {
        let urls = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
        UrlList::new(urls)
    }
}

impl fmt::Display for UrlList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_strings().join(","))
    }
}

/// The members a cluster starts with: `name=url,name=url`. A name given again adds a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialCluster(BTreeMap<String, UrlList>);

impl InitialCluster {
    /// A cluster of one member.
    pub fn single(name: &str, peer_urls: UrlList) -> InitialCluster {
        InitialCluster(BTreeMap::from([(name.to_owned(), peer_urls)]))
    }

    /// The members' peer URLs by name.
    pub fn members(&self) -> &BTreeMap<String, UrlList> {
        &self.0
    }
}

impl FromStr for InitialCluster {
    type Err = String;

    fn from_str(text: &str) -> Result<InitialCluster, String> {
        let mut members: BTreeMap<String, Vec<MemberUrl>> = BTreeMap::new();
        let mut owners: BTreeMap<MemberUrl, String> = BTreeMap::new();
        for pair in text.split(',') {
            let (name, url) = pair
                .trim()
                .split_once('=')
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| {
                    format!("\"{pair}\" does not have the form name=http://host:port")
                })?;
            let url: MemberUrl = url.parse()?;
            if let Some(owner) = owners.insert(url.clone(), name.to_owned()) {
                return Err(format!(
                    "{url} is given twice, to \"{owner}\" and to \"{name}\""
                ));
            }
            members.entry(name.to_owned()).or_default().push(url);
        }
        let lists = members
            .into_iter()
            .map(|(name, urls)| Ok((name, UrlList::new(urls)?)))
            .collect::<Result<_, String>>()?;
        Ok(InitialCluster(lists))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn urls_are_read_and_shown() {
        for text in [
            "http://127.0.0.1:2380",
            "https://etcd-1.example.com:2379",
            "http://[::1]:2379",
            "http://localhost:65535",
        ] {
            assert_eq!(text.parse::<MemberUrl>().unwrap().to_string(), text);
        }
        let list: UrlList = "http://b:2, HTTP://a:1".parse().unwrap();
        assert_eq!(list.to_string(), "http://a:1,http://b:2");
    }

    #[test]
    fn other_urls_are_refused_with_a_reason() {
        for (text, reason) in [
            ("", "has no scheme"),
            ("127.0.0.1:2380", "has no scheme"),
            ("ftp://a:1", "must be http or https"),
            ("unix://sock:1", "unix sockets are not supported"),
            ("http://a", "does not have the form http://host:port"),
            ("http://a:", "does not have the form"),
            ("http://:1", "does not have the form"),
            ("http://a:0", "does not have the form"),
            ("http://a:65536", "does not have the form"),
            ("http://a:+1", "does not have the form"),
            ("http://::1:2379", "does not have the form"),
            ("http://[::1:2379", "does not have the form"),
            ("http://a b:1", "does not have the form"),
            ("http://a:1/", "must not contain a path"),
            ("http://a:1?x", "must not contain a path"),
            ("http://me@a:1", "must not contain a user"),
        ] {
            let error = text.parse::<MemberUrl>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        for (text, reason) in [
            ("http://a:1,", "has no scheme"),
            ("http://a:1,http://a:1", "http://a:1 is given twice"),
        ] {
            let error = text.parse::<UrlList>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn initial_clusters() {
        let text = "b=http://b:1,a=http://a:2,a=http://a:1";
        let cluster: InitialCluster = text.parse().unwrap();
        let members: Vec<_> = cluster
            .members()
            .iter()
            .map(|(name, urls)| format!("{name} {urls}"))
            .collect();
        assert_eq!(members, ["a http://a:1,http://a:2", "b http://b:1"]);
        for (text, reason) in [
            ("", "does not have the form name=http://host:port"),
            ("a", "does not have the form name="),
            ("=http://a:1", "does not have the form name="),
            ("a=b", "\"b\" has no scheme"),
            (
                "a=http://a:1,b=http://a:1",
                "http://a:1 is given twice, to \"a\" and to \"b\"",
            ),
        ] {
            let error = text.parse::<InitialCluster>().unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
