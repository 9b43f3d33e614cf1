//! Who a client is: passwords are checked here, and tokens given and recognised.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::{Published, RequestError, Response, Server};
use crate::api::proto::vetcdpb::{Login, log_request::Request};
use crate::auth::jwt::Signer;
use crate::auth::tokens::{self, Tokens};
use crate::auth::{Caller, Error, password};
use crate::config::{AuthToken, Config};
use crate::host::{Disk, Host, HostExt, OpenMode};
use crate::tls::ClientIdentity;

/// How long a member that lags waits for the log entry that made a token.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(1);
/// Passwords that are hashed at the same time; each takes a processor for a while.
const HASHES_AT_ONCE: usize = 4;
/// How often a login is tried when users and roles change while the password is checked.
const LOGIN_ATTEMPTS: usize = 10;

/// What a member needs to recognise clients.
pub struct Authenticator {
    tokens: Arc<Tokens>,
    /// Set when clients get JSON Web Tokens.
    signer: Option<Arc<Signer>>,
    bcrypt_cost: u32,
    hashing: Semaphore,
}

impl Authenticator {
    /// Gives tokens of the list, or of the signer where there is one.
    pub fn new(
        tokens: Arc<Tokens>,
        signer: Option<Arc<Signer>>,
        bcrypt_cost: u32,
    ) -> Authenticator {
        Authenticator {
            tokens,
            signer,
            bcrypt_cost,
            hashing: Semaphore::new(HASHES_AT_ONCE),
        }
    }
}

/// What a request shows about who sends it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The token.
    token: Option<String>,
    /// The common name of the verified certificate.
    common_name: Option<String>,
}

impl Credentials {
    /// From the metadata `token` or `authorization` and the connection's [`ClientIdentity`]. A
    /// token that is no text is no user's; an unused certificate counts for nothing.
    pub fn of<T>(request: &tonic::Request<T>) -> Credentials {
        let metadata = request.metadata();
        let token = ["token", "authorization"]
            .into_iter()
            .find_map(|name| metadata.get(name))
            .map(|value| value.to_str().unwrap_or_default());
        // The gateway's own certificate says nothing about whoever stands behind it.
        let direct = !metadata.contains_key("grpcgateway-accept");
        let name = request.extensions().get::<ClientIdentity>();
        Credentials {
            token: token.map(|token| token.strip_prefix("Bearer ").unwrap_or(token).to_owned()),
            common_name: name
                .filter(|_| direct)
                .and_then(|name| name.common_name.clone()),
        }
    }
}

impl Server {
    /// Who sends a request that goes through the log.
    ///
    /// # Errors
    /// `InvalidToken`.
    pub async fn caller(&self, credentials: &Credentials) -> Result<Caller, RequestError> {
        self.token_is_known(credentials).await?;
        self.caller_at(&self.serializable(), credentials)
    }

    /// A state to read from and who reads; whether he may is decided on that state.
    ///
    /// # Errors
    /// `InvalidToken`, and those of [`Server::read`].
    pub async fn read_as(
        &self,
        credentials: &Credentials,
        serializable: bool,
    ) -> Result<(Arc<Published>, Caller), RequestError> {
        self.token_is_known(credentials).await?;
        let published = self.read(serializable).await?;
        let caller = self.caller_at(&published, credentials)?;
        Ok((published, caller))
    }

    /// Refuses whoever is not an administrator, by this member's own state.
    ///
    /// # Errors
    /// `UserEmpty`, `UserNotFound`, `PermissionDenied`, `InvalidToken`.
    pub async fn require_root(&self, credentials: &Credentials) -> Result<Caller, RequestError> {
        let caller = self.caller(credentials).await?;
        self.serializable().auth.permit_root(&caller)?;
        Ok(caller)
    }

    /// Refuses whoever has not authenticated.
    ///
    /// # Errors
    /// `UserEmpty`, `InvalidToken`.
    pub async fn require_user(&self, credentials: &Credentials) -> Result<Caller, RequestError> {
        let caller = self.caller(credentials).await?;
        self.serializable().auth.permit_user(&caller)?;
        Ok(caller)
    }

    /// Waits until this member can recognise the client, if it can at all.
    pub async fn wait_for_token(&self, credentials: &Credentials) {
        // Whoever is not recognised is refused when that is asked.
        let _ = self.token_is_known(credentials).await;
    }

    /// Whether the client may watch `key`, or the range that starts there, by this member's own
    /// state.
    ///
    /// # Errors
    /// `InvalidToken`, and those of [`State::permit_range`](crate::auth::State::permit_range).
    pub fn permit_watch(
        &self,
        credentials: &Credentials,
        key: &[u8],
        range_end: &[u8],
    ) -> Result<(), RequestError> {
        let published = self.serializable();
        let caller = self.caller_at(&published, credentials)?;
        // As in etcd the empty key stands for the first one.
        let key = if key.is_empty() { b"\0" } else { key };
        Ok(published.auth.permit_range(&caller, key, range_end)?)
    }

    /// Who sends a request, as of `published`. The revision is that of `published`, which was taken
    /// before the token is looked up: a token that is forgotten with a later change is then good
    /// for nothing that sees the change.
    pub(super) fn caller_at(
        &self,
        published: &Published,
        credentials: &Credentials,
    ) -> Result<Caller, RequestError> {
        if !published.auth.is_enabled() {
            return Ok(Caller::default());
        }
        let revision = published.auth.revision();
        let user = match (&credentials.token, &credentials.common_name) {
            (Some(token), _) => match &self.authenticator.signer {
                Some(signer) => {
                    let caller = signer.verify(token, self.host.wall_clock());
                    return caller.ok_or(Error::InvalidToken.into());
                }
                None => {
                    let user = self.authenticator.tokens.user(token, self.host.now());
                    user.ok_or(Error::InvalidToken)?
                }
            },
            (None, Some(name)) => name.clone(),
            (None, None) => return Ok(Caller::default()),
        };
        Ok(Caller { user, revision })
    }

    /// Waits until this member has applied the log entry that made a simple token, which it may
    /// lag behind: until then it could know neither the token nor that authentication is on.
    async fn token_is_known(&self, credentials: &Credentials) -> Result<(), RequestError> {
        let token = credentials.token.as_deref();
        let Some(index) = token.and_then(tokens::index_of) else {
            return Ok(());
        };
        let reached = self.published.reached(index, 0);
        match self.host.timeout(TOKEN_TIMEOUT, reached).await {
            Some(Some(_)) => Ok(()),
            Some(None) => Err(RequestError::Stopped),
            None => Err(Error::InvalidToken.into()),
        }
    }

    /// Checks a password and gives a token for it.
    ///
    /// # Errors
    /// `NotEnabled`, `AuthFailed`, and what a write can fail with.
    pub async fn authenticate(&self, name: &str, password: &str) -> Result<String, RequestError> {
        for _ in 0..LOGIN_ATTEMPTS {
            let published = self.linearizable().await?;
            let hash = published.auth.password_hash(name)?;
            let caller = Caller {
                user: name.to_owned(),
                revision: published.auth.revision(),
            };
            let given = password.to_owned();
            let fits = self.hashing(move || password::fits(&given, &hash)).await?;
            if !fits {
                return Err(Error::AuthFailed.into());
            }
            if let Some(signer) = &self.authenticator.signer {
                let token = signer.sign(&caller, self.host.wall_clock());
                return token.ok_or(RequestError::Auth(Error::AuthFailed));
            }
            let login = Login {
                name: caller.user,
                token: tokens::draw_prefix(&*self.host),
                checked_revision: caller.revision,
            };
            match self.propose_own(Request::Login(login)).await {
                Err(RequestError::Auth(Error::OldRevision)) => {}
                Ok(Response::Login(token)) => return Ok(token),
                Ok(_) => break,
                Err(error) => return Err(error),
            }
        }
        Err(Error::OldRevision.into())
    }

    /// Hashes a new password, so that the log never holds the password itself.
    ///
    /// # Errors
    /// `AuthFailed` for one that cannot be hashed; `Stopped`.
    pub async fn hash_password(&self, password: String) -> Result<String, RequestError> {
        let mut salt = [0; 16];
        self.host.fill_random(&mut salt);
        let cost = self.authenticator.bcrypt_cost;
        let hash = self.hashing(move || password::hash(&password, cost, salt));
        Ok(hash.await?.ok_or(Error::AuthFailed)?)
    }

    async fn hashing<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, RequestError> {
        let turn = self.authenticator.hashing.acquire().await;
        let _turn = turn.map_err(|_| RequestError::Stopped)?;
        let done = self.host.run_blocking(work).await;
        done.ok_or(RequestError::Stopped)
    }
}

/// The largest key file, bytes.
const KEY_FILE_BYTES_MAX: usize = 64 << 10;

/// What signs tokens, by the flags; `None` for simple tokens.
///
/// # Errors
/// What is wrong with the key files.
pub async fn signer(
    host: &Arc<dyn Host>,
    config: &Config,
) -> Result<Option<Arc<Signer>>, super::Error> {
    let AuthToken::Jwt {
        method,
        public_key,
        private_key,
        time_to_live,
    } = config.auth_token.clone()
    else {
        return Ok(None);
    };
    let disk = host.disk();
    let read = move || -> Result<Signer, String> {
        let private = private_key
            .map(|path| read_key(&*disk, &path))
            .transpose()?;
        let public = public_key.map(|path| read_key(&*disk, &path)).transpose()?;
        Signer::new(method, private.as_deref(), public.as_deref(), time_to_live)
            .map_err(|error| error.to_string())
    };
    let signer = host.run_blocking(read).await;
    let signer = signer.unwrap_or(Err("the key files were not read".to_owned()));
    Ok(Some(Arc::new(signer.map_err(super::Error::AuthToken)?)))
}

fn read_key(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, String> {
    let read = || {
        let file = disk.open(path, OpenMode::Read)?;
        let mut content = vec![0; KEY_FILE_BYTES_MAX];
        let length = file.read_at(0, &mut content)?;
        content.truncate(length);
        Ok(content)
    };
    read().map_err(|error: io::Error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may")]
mod tests {
    use super::*;

    fn shown(metadata: &[(&'static str, &str)], common_name: Option<&str>) -> Credentials {
        let mut request = tonic::Request::new(());
        for (name, value) in metadata {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        if let Some(name) = common_name {
            let common_name = Some(name.to_owned());
            request
                .extensions_mut()
                .insert(ClientIdentity { common_name });
        }
        Credentials::of(&request)
    }

    #[test]
    fn a_token_comes_in_either_header_with_or_without_bearer() {
        assert_eq!(shown(&[], None), Credentials::default());
        for metadata in [
            ("token", "a.1"),
            ("token", "Bearer a.1"),
            ("authorization", "a.1"),
            ("authorization", "Bearer a.1"),
        ] {
            assert_eq!(shown(&[metadata], None).token.as_deref(), Some("a.1"));
        }
        let both = [("authorization", "b.2"), ("token", "a.1")];
        assert_eq!(shown(&both, None).token.as_deref(), Some("a.1"));
    }

    #[test]
    fn a_certificate_counts_unless_it_is_the_gateways() {
        assert_eq!(shown(&[], Some("cn")).common_name.as_deref(), Some("cn"));
        let through_gateway = [("grpcgateway-accept", "*/*")];
        assert_eq!(shown(&through_gateway, Some("cn")).common_name, None);
    }
}
