//! JSON Web Tokens: the token itself says who holds it, at which auth revision, and until when.
//!
//! The signing is [`ring`]'s; what is around it is small enough to be ours. One method is chosen by
//! the flag and no other is accepted, `none` least of all; every claim has exactly one type. A
//! member with the public key alone checks tokens and makes none.
//!
//! Time is the host's wall clock, and is handed in.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair};
use ring::{hmac, signature::UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use super::{Caller, der};

/// The longest token that is looked at, bytes.
const TOKEN_BYTES_MAX: usize = 8 << 10;

/// How tokens are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of RFC 7518 and RFC 8037")]
pub enum Method {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Method {
    /// Every method with its name in a token's header.
    pub const ALL: [(Method, &str); 12] = [
        (Method::Hs256, "HS256"),
        (Method::Hs384, "HS384"),
        (Method::Hs512, "HS512"),
        (Method::Rs256, "RS256"),
        (Method::Rs384, "RS384"),
        (Method::Rs512, "RS512"),
        (Method::Ps256, "PS256"),
        (Method::Ps384, "PS384"),
        (Method::Ps512, "PS512"),
        (Method::Es256, "ES256"),
        (Method::Es384, "ES384"),
        (Method::EdDsa, "EdDSA"),
    ];

    /// By name.
    pub fn by_name(name: &str) -> Option<Method> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(method, _)| *method)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(method, _)| *method == self);
        found.map_or("", |(_, name)| name)
    }

    fn hmac(self) -> Option<hmac::Algorithm> {
        match self {
            Method::Hs256 => Some(hmac::HMAC_SHA256),
            Method::Hs384 => Some(hmac::HMAC_SHA384),
            Method::Hs512 => Some(hmac::HMAC_SHA512),
            _ => None,
        }
    }

    fn rsa(self) -> Option<&'static dyn signature::RsaEncoding> {
        match self {
            Method::Rs256 => Some(&signature::RSA_PKCS1_SHA256),
            Method::Rs384 => Some(&signature::RSA_PKCS1_SHA384),
            Method::Rs512 => Some(&signature::RSA_PKCS1_SHA512),
            Method::Ps256 => Some(&signature::RSA_PSS_SHA256),
            Method::Ps384 => Some(&signature::RSA_PSS_SHA384),
            Method::Ps512 => Some(&signature::RSA_PSS_SHA512),
            _ => None,
        }
    }

    fn ecdsa(self) -> Option<&'static signature::EcdsaSigningAlgorithm> {
        match self {
            Method::Es256 => Some(&signature::ECDSA_P256_SHA256_FIXED_SIGNING),
            Method::Es384 => Some(&signature::ECDSA_P384_SHA384_FIXED_SIGNING),
            _ => None,
        }
    }

    /// How a signature is checked; `None` for the shared secrets.
    fn verification(self) -> Option<&'static dyn signature::VerificationAlgorithm> {
        match self {
            Method::Hs256 | Method::Hs384 | Method::Hs512 => None,
            Method::Rs256 => Some(&signature::RSA_PKCS1_2048_8192_SHA256),
            Method::Rs384 => Some(&signature::RSA_PKCS1_2048_8192_SHA384),
            Method::Rs512 => Some(&signature::RSA_PKCS1_2048_8192_SHA512),
            Method::Ps256 => Some(&signature::RSA_PSS_2048_8192_SHA256),
            Method::Ps384 => Some(&signature::RSA_PSS_2048_8192_SHA384),
            Method::Ps512 => Some(&signature::RSA_PSS_2048_8192_SHA512),
            Method::Es256 => Some(&signature::ECDSA_P256_SHA256_FIXED),
            Method::Es384 => Some(&signature::ECDSA_P384_SHA384_FIXED),
            Method::EdDsa => Some(&signature::ED25519),
        }
    }
}

/// Why keys cannot be used, as a sentence for whoever wrote the flag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The method needs a key that was not given.
    #[error("{0} needs {1}")]
    Missing(&'static str, &'static str),
    /// A file does not hold what it should.
    #[error("{0} holds no key for {1}: {2}")]
    Unusable(&'static str, &'static str, &'static str),
    /// The two keys are not a pair.
    #[error("pub-key and priv-key are not a pair")]
    Mismatch,
}

enum Secret {
    Hmac(hmac::Key),
    Rsa(Box<RsaKeyPair>),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    /// The public key alone: tokens are checked and not made.
    None,
}

/// Makes and checks tokens.
pub struct Signer {
    method: Method,
    time_to_live: Duration,
    secret: Secret,
    public: Vec<u8>,
    random: SystemRandom,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.method.name())
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: String,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    username: String,
    revision: u64,
    /// Seconds since the Unix epoch.
    exp: u64,
}

impl Signer {
    /// From the contents of the key files: PEM, or for the shared secrets any bytes in `private`.
    ///
    /// # Errors
    /// What is wrong with the keys.
    pub fn new(
        method: Method,
        private: Option<&[u8]>,
        public: Option<&[u8]>,
        time_to_live: Duration,
    ) -> Result<Signer, KeyError> {
        let secret = match private {
            Some(private) => secret(method, private)?,
            None => Secret::None,
        };
        let given = match public {
            Some(public) if method.hmac().is_none() => Some(public_key(method, public)?),
            _ => None,
        };
        let public = match (&secret, given) {
            (Secret::None, None) => {
                let what = match method.hmac() {
                    Some(_) => "priv-key, the shared secret",
                    None => "pub-key or priv-key",
                };
                return Err(KeyError::Missing(method.name(), what));
            }
            (Secret::None, Some(given)) => given,
            (secret, given) => {
                let own = secret.public();
                if given.is_some_and(|given| given != own) {
                    return Err(KeyError::Mismatch);
                }
                own
            }
        };
        Ok(Signer {
            method,
            time_to_live,
            secret,
            public,
            random: SystemRandom::new(),
        })
    }

    /// A token for `caller` from `now` on; `None` when this member has no key to sign with.
    pub fn sign(&self, caller: &Caller, now: Duration) -> Option<String> {
        let header = Header {
            alg: self.method.name().to_owned(),
            typ: "JWT".to_owned(),
        };
        let claims = Claims {
            username: caller.user.clone(),
            revision: caller.revision,
            exp: now.saturating_add(self.time_to_live).as_secs(),
        };
        let mut token = BASE64.encode(serde_json::to_vec(&header).ok()?);
        token.push('.');
        token.push_str(&BASE64.encode(serde_json::to_vec(&claims).ok()?));
        let signature = self.signature(token.as_bytes())?;
        token.push('.');
        token.push_str(&BASE64.encode(signature));
        Some(token)
    }

    /// Who holds `token`, if it is one of this cluster's and has not expired by `now`.
    pub fn verify(&self, token: &str, now: Duration) -> Option<Caller> {
        if token.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&BASE64.decode(header).ok()?).ok()?;
        if header.alg != self.method.name() {
            return None;
        }
        let signature = BASE64.decode(signature).ok()?;
        match (&self.secret, self.method.verification()) {
            (Secret::Hmac(key), _) => hmac::verify(key, signed.as_bytes(), &signature).ok()?,
            (_, Some(algorithm)) => UnparsedPublicKey::new(algorithm, &self.public)
                .verify(signed.as_bytes(), &signature)
                .ok()?,
            (_, None) => return None,
        }
        let claims: Claims = serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()?;
        (now.as_secs() < claims.exp).then_some(Caller {
            user: claims.username,
            revision: claims.revision,
        })
    }

    fn signature(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.secret {
            Secret::Hmac(key) => Some(hmac::sign(key, message).as_ref().to_vec()),
            Secret::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(self.method.rsa()?, &self.random, message, &mut signature)
                    .ok()?;
                Some(signature)
            }
            Secret::Ecdsa(pair) => {
                let signature = pair.sign(&self.random, message).ok()?;
                Some(signature.as_ref().to_vec())
            }
            Secret::Ed25519(pair) => Some(pair.sign(message).as_ref().to_vec()),
            Secret::None => None,
        }
    }
}

impl Secret {
    fn public(&self) -> Vec<u8> {
        match self {
            Secret::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Secret::Ecdsa(pair) => pair.public_key().as_ref().to_vec(),
            Secret::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
            Secret::Hmac(_) | Secret::None => Vec::new(),
        }
    }
}

fn secret(method: Method, file: &[u8]) -> Result<Secret, KeyError> {
    if let Some(algorithm) = method.hmac() {
        return match file.is_empty() {
            true => Err(KeyError::Missing(
                method.name(),
                "a priv-key that is not empty",
            )),
            false => Ok(Secret::Hmac(hmac::Key::new(algorithm, file))),
        };
    }
    let unusable = |why| KeyError::Unusable("priv-key", method.name(), why);
    let text = std::str::from_utf8(file).map_err(|_| unusable("it is not PEM"))?;
    let labels = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
    let (label, content) =
        der::pem(text, &labels).ok_or(unusable("it has no block with a private key"))?;
    let wrong = unusable("the key is of another kind, or of a strength that is not accepted");
    let random = SystemRandom::new();
    let secret = match (method, label) {
        (Method::EdDsa, "PRIVATE KEY") => {
            let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&content);
            pair.ok().map(Secret::Ed25519)
        }
        (Method::Es256 | Method::Es384, label) => {
            let sec1 = match label {
                "PRIVATE KEY" => der::pkcs8(&content),
                _ => Some(content),
            };
            let parts = sec1.as_deref().and_then(der::sec1);
            let (secret, point) = parts.ok_or(unusable("it lacks the public point"))?;
            method.ecdsa().and_then(|algorithm| {
                EcdsaKeyPair::from_private_key_and_public_key(algorithm, &secret, &point, &random)
                    .ok()
                    .map(Secret::Ecdsa)
            })
        }
        (_, "PRIVATE KEY") => RsaKeyPair::from_pkcs8(&content)
            .ok()
            .map(|pair| Secret::Rsa(Box::new(pair))),
        (_, "RSA PRIVATE KEY") => RsaKeyPair::from_der(&content)
            .ok()
            .map(|pair| Secret::Rsa(Box::new(pair))),
        _ => None,
    };
    secret.ok_or(wrong)
}

fn public_key(method: Method, file: &[u8]) -> Result<Vec<u8>, KeyError> {
    let unusable = |why| KeyError::Unusable("pub-key", method.name(), why);
    let text = std::str::from_utf8(file).map_err(|_| unusable("it is not PEM"))?;
    match der::pem(text, &["PUBLIC KEY", "RSA PUBLIC KEY"]) {
        Some(("RSA PUBLIC KEY", content)) => Ok(content),
        Some((_, content)) => {
            der::subject_public_key(&content).ok_or(unusable("the block is garbled"))
        }
        None => Err(unusable("it has no block with a public key")),
    }
}
