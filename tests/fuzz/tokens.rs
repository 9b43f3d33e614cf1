//! JSON Web Tokens as clients present them: damaged, and with claims of all kinds signed by the right
//! key; and the files that keys for them are read from.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use vetcd::auth::Caller;
use vetcd::auth::jwt::{Method, Signer};

use crate::harness::{Target, fuzz};
use crate::mutate::{self, Draw};

const SECRET: &[u8] = b"a secret that is shared";
const NOW: Duration = Duration::from_secs(1_700_000_000);

struct Tokens(Signer);

fn signer() -> Signer {
    Signer::new(Method::Hs256, Some(SECRET), None, Duration::from_secs(300)).unwrap()
}

fn signed(head: &[u8], claims: &[u8]) -> Vec<u8> {
    let signed = format!("{}.{}", BASE64.encode(head), BASE64.encode(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET);
    let signature = ring::hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", BASE64.encode(signature)).into_bytes()
}

impl Target for Tokens {
    fn name(&self) -> &'static str {
        "tokens"
    }

    fn cases(&self) -> usize {
        8_000
    }

    fn seeds(&mut self) -> Vec<Vec<u8>> {
        let caller = |user: &str| Caller {
            user: user.to_owned(),
            revision: 7,
        };
        let mut seeds: Vec<Vec<u8>> = ["alice", "", "名前"]
            .map(|user| self.0.sign(&caller(user), NOW).unwrap().into_bytes())
            .into();
        seeds.push(signed(b"{\"alg\":\"none\"}", b"{}"));
        // Behind a first byte that no token has: a key file.
        let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n-----END PRIVATE KEY-----\n";
        seeds.push([b"\0", pem.as_bytes()].concat());
        let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
        seeds.push([b"\x01", pem.as_bytes()].concat());
        seeds
    }

    fn mutate(&mut self, draw: &mut Draw, seed: &[u8], other: &[u8]) -> Vec<u8> {
        let parts: Vec<&[u8]> = seed.split(|byte| *byte == b'.').collect();
        if let [head, claims, _] = parts[..]
            && !draw.once_in(4)
        {
            let decoded = |part| BASE64.decode(part).unwrap_or_default();
            let (head, claims) = (decoded(head), decoded(claims));
            return match draw.below(4) {
                0 => signed(&mutate::json(draw, &head, &claims), &claims),
                _ => signed(&head, &mutate::json(draw, &claims, &head)),
            };
        }
        if let Some((kind, file)) = seed.split_first().filter(|(kind, _)| **kind < 2)
            && let Ok(text) = std::str::from_utf8(file)
            && !draw.once_in(3)
        {
            // What is inside the armour.
            let lines: Vec<&str> = text.lines().collect();
            if let [begin, content, end] = lines[..] {
                let engine = base64::engine::general_purpose::STANDARD;
                let content = engine.decode(content).unwrap_or_default();
                let content = engine.encode(mutate::bytes(draw, &content, other));
                let file = format!("{begin}\n{content}\n{end}\n");
                return [&[*kind], file.as_bytes()].concat();
            }
        }
        mutate::bytes(draw, seed, other)
    }

    fn run(&mut self, input: &[u8]) -> Result<String, String> {
        if let Some((kind @ (0 | 1), file)) = input.split_first() {
            let (private, public) = match kind {
                0 => (Some(file), None),
                _ => (None, Some(file)),
            };
            let tried = Method::ALL.map(|(method, _)| {
                let signer = Signer::new(method, private, public, Duration::from_secs(1));
                signer.map_or_else(|error| error.to_string(), |_| "usable".to_owned())
            });
            return Ok(tried.concat());
        }
        let Ok(token) = std::str::from_utf8(input) else {
            return Ok("not UTF-8".to_owned());
        };
        let Some(caller) = self.0.verify(token, NOW) else {
            return Ok(format!("refused, {}", token.matches('.').count().min(4)));
        };
        // Nobody gets in whom the signature does not vouch for.
        let (content, signature) = token.rsplit_once('.').unwrap_or_default();
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET);
        let signature = BASE64.decode(signature).unwrap_or_default();
        if ring::hmac::verify(&key, content.as_bytes(), &signature).is_err() {
            return Err(format!("taken without a signature: {caller:?}"));
        }
        Ok(format!("taken, {}", caller.user.is_empty()))
    }

    fn memory(&self, input: &[u8]) -> u64 {
        (1 << 18) + 20 * input.len() as u64
    }
}

#[test]
fn tokens() {
    fuzz(&mut Tokens(signer()));
}
