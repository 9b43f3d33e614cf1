//! Passwords, simple tokens and JSON Web Tokens.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::*;
use crate::auth::jwt::{KeyError, Method, Signer};
use crate::auth::tokens::{self, Tokens};
use crate::host::Moment;

const MINUTE: Duration = Duration::from_secs(60);

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

#[test]
fn passwords_fit_their_own_hash() {
    let hash = password::hash("secret", password::COST_MIN, [7; 16]).unwrap();
    assert!(hash.starts_with("$2a$04$"), "{hash}");
    assert_eq!(
        password::hash("secret", password::COST_MIN, [7; 16]).unwrap(),
        hash
    );
    assert!(password::fits("secret", &hash));
    assert!(!password::fits("Secret", &hash));
    assert!(!password::fits("", &hash));
    for garbled in ["", "$2a$04$", "secret", &hash[..hash.len() - 1]] {
        assert!(!password::fits("secret", garbled), "{garbled}");
    }
}

#[test]
fn a_token_lives_as_long_as_it_is_used() {
    let tokens = Tokens::new(MINUTE);
    tokens.assign("t.1", "u", at(0));
    assert_eq!(tokens.user("t.1", at(50)).as_deref(), Some("u"));
    assert_eq!(tokens.user("t.1", at(109)).as_deref(), Some("u"));
    assert_eq!(tokens.user("t.2", at(109)), None);
    assert_eq!(tokens.user("t.1", at(170)), None);
    assert!(tokens.is_empty());
}

#[test]
fn tokens_go_with_their_user() {
    let tokens = Tokens::new(MINUTE);
    for (token, user) in [("a.1", "u"), ("b.2", "v"), ("c.3", "u")] {
        tokens.assign(token, user, at(0));
    }
    tokens.forget_user("u");
    assert_eq!(tokens.user("a.1", at(1)), None);
    assert_eq!(tokens.user("b.2", at(1)).as_deref(), Some("v"));
    tokens.forget_all();
    assert_eq!(tokens.user("b.2", at(1)), None);
}

#[test]
fn the_number_of_tokens_is_bounded() {
    let tokens = Tokens::new(MINUTE);
    for number in 0..tokens::TOKENS_MAX + 10 {
        tokens.assign(&format!("t.{number}"), "u", at(0));
    }
    assert_eq!(tokens.len(), tokens::TOKENS_MAX);
}

#[test]
fn a_tokens_index_is_read_strictly() {
    assert_eq!(tokens::index_of(&tokens::complete("abc", 17)), Some(17));
    for wrong in [
        "",
        "abc",
        "abc.",
        ".1",
        "abc.x",
        "abc.+1",
        "abc.1.2",
        "a.99999999999999999999",
    ] {
        assert_eq!(tokens::index_of(wrong), None, "{wrong}");
    }
}

const RSA_PKCS1: &str = include_str!("../testdata/rsa-pkcs1.pem");
const RSA_PKCS8: &str = include_str!("../testdata/rsa-pkcs8.pem");
const RSA_PUBLIC: &str = include_str!("../testdata/rsa-public.pem");
const EC_SEC1: &str = include_str!("../testdata/ec-sec1.pem");
const EC_PKCS8: &str = include_str!("../testdata/ec-pkcs8.pem");
const EC_PUBLIC: &str = include_str!("../testdata/ec-public.pem");
const ED25519: &str = include_str!("../testdata/ed25519.pem");
const ED25519_PUBLIC: &str = include_str!("../testdata/ed25519-public.pem");

fn signer(method: Method, private: Option<&str>, public: Option<&str>) -> Result<Signer, KeyError> {
    let (private, public) = (private.map(str::as_bytes), public.map(str::as_bytes));
    Signer::new(method, private, public, MINUTE)
}

fn alice() -> Caller {
    Caller {
        user: "alice".into(),
        revision: 7,
    }
}

#[test]
fn what_is_signed_is_recognised_by_either_key() {
    let cases = [
        (Method::Rs256, RSA_PKCS1, Some(RSA_PUBLIC)),
        (Method::Rs512, RSA_PKCS8, Some(RSA_PUBLIC)),
        (Method::Ps384, RSA_PKCS8, Some(RSA_PUBLIC)),
        (Method::Es256, EC_SEC1, Some(EC_PUBLIC)),
        (Method::Es256, EC_PKCS8, Some(EC_PUBLIC)),
        (Method::EdDsa, ED25519, Some(ED25519_PUBLIC)),
        (Method::Hs256, "shared secret", None),
        (Method::Hs512, "shared secret", None),
    ];
    for (method, private, public) in cases {
        let both = signer(method, Some(private), public).unwrap();
        let now = Duration::from_secs(1_000_000);
        let token = both.sign(&alice(), now).unwrap();
        let verify = |token: &str, now| both.verify(token, now);
        assert_eq!(verify(&token, now), Some(alice()), "{method:?}");
        assert_eq!(
            verify(&token, now + MINUTE - Duration::from_secs(1)),
            Some(alice())
        );
        assert_eq!(verify(&token, now + MINUTE), None, "{method:?} expires");
        if public.is_some() {
            let checker = signer(method, None, public).unwrap();
            assert_eq!(checker.verify(&token, now), Some(alice()), "{method:?}");
            assert_eq!(checker.sign(&alice(), now), None, "{method:?}");
        }
        // Any changed letter but padding-like ones at the very end of a part shows.
        for position in [0, token.len() / 2, token.len() - 5] {
            let mut forged = token.clone().into_bytes();
            forged[position] = if forged[position] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(verify(&forged, now), None, "{method:?} at {position}");
        }
    }
}

#[test]
fn only_the_chosen_method_counts() {
    let now = Duration::from_secs(1_000);
    let checker = signer(Method::Rs256, None, Some(RSA_PUBLIC)).unwrap();
    let other = signer(Method::Ps256, Some(RSA_PKCS1), None).unwrap();
    assert_eq!(
        checker.verify(&other.sign(&alice(), now).unwrap(), now),
        None
    );
    // The classic: the public key, which everybody has, taken for a shared secret.
    let confused = signer(Method::Hs256, Some(RSA_PUBLIC), None).unwrap();
    assert_eq!(
        checker.verify(&confused.sign(&alice(), now).unwrap(), now),
        None
    );
    let part = |json: &str| BASE64.encode(json);
    let claims = r#"{"username":"alice","revision":7,"exp":99999}"#;
    for unsigned in [
        format!("{}.{}.", part(r#"{"alg":"none"}"#), part(claims)),
        format!("{}.{}.", part(r#"{"alg":"RS256"}"#), part(claims)),
        format!("{}.{}", part(r#"{"alg":"RS256"}"#), part(claims)),
        String::new(),
        "...".into(),
        "x".repeat(1 << 20),
    ] {
        assert_eq!(checker.verify(&unsigned, now), None);
    }
}

#[test]
fn claims_of_the_wrong_type_are_no_claims() {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"shared secret");
    let checker = signer(Method::Hs256, Some("shared secret"), None).unwrap();
    let token = |claims: &str| {
        let signed = format!(
            "{}.{}",
            BASE64.encode(r#"{"alg":"HS256"}"#),
            BASE64.encode(claims)
        );
        let signature = ring::hmac::sign(&key, signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(signature))
    };
    let now = Duration::from_secs(1_000);
    let good = token(r#"{"username":"alice","revision":7,"exp":1001}"#);
    assert_eq!(checker.verify(&good, now), Some(alice()));
    for claims in [
        r#"{"username":"alice","revision":7}"#,
        r#"{"username":"alice","revision":7,"exp":"never"}"#,
        r#"{"username":"alice","revision":7,"exp":-1}"#,
        r#"{"username":"alice","exp":1001}"#,
        r#"{"username":["alice"],"revision":7,"exp":1001}"#,
        "null",
    ] {
        assert_eq!(checker.verify(&token(claims), now), None, "{claims}");
    }
}

#[test]
fn keys_are_refused_with_a_reason() {
    let error = |method, private, public| signer(method, private, public).unwrap_err().to_string();
    assert_eq!(
        error(Method::Rs256, None, None),
        "RS256 needs pub-key or priv-key"
    );
    assert_eq!(
        error(Method::Hs256, None, Some(RSA_PUBLIC)),
        "HS256 needs priv-key, the shared secret"
    );
    let wrong = error(Method::Es256, Some(RSA_PKCS8), None);
    assert!(
        wrong.starts_with("priv-key holds no key for ES256"),
        "{wrong}"
    );
    let wrong = error(Method::Rs256, Some("nonsense"), None);
    assert!(wrong.contains("no block"), "{wrong}");
    let cut: String = RSA_PKCS1.chars().filter(|c| *c != 'A').collect();
    assert!(signer(Method::Rs256, Some(&cut), None).is_err());
    let other = signer(Method::Es384, Some(EC_SEC1), None);
    assert!(other.is_err(), "a key on another curve");
    let pair = signer(Method::EdDsa, Some(ED25519), Some(ED25519_PUBLIC));
    assert!(pair.is_ok());
    let mismatch = signer(Method::EdDsa, Some(ED25519), Some(EC_PUBLIC)).unwrap_err();
    assert_eq!(mismatch, KeyError::Mismatch);
}
