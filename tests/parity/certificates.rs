//! A certificate authority and certificates under it, made for one test.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

/// PEM files of one cluster: members and clients share a certificate, as small clusters do.
#[derive(Clone, Debug)]
pub struct Certificates {
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificates {
    /// Writes new ones for 127.0.0.1 into `folder`.
    pub fn generate(folder: &Path) -> Certificates {
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certified = authority.self_signed(&key).unwrap();
        let issuer = Issuer::new(authority, key);

        let leaf_key = KeyPair::generate().unwrap();
        let mut leaf =
            CertificateParams::new(vec!["127.0.0.1".into(), "localhost".into()]).unwrap();
        leaf.distinguished_name.push(DnType::CommonName, "root");
        leaf.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let leaf = leaf.signed_by(&leaf_key, &issuer).unwrap();

        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        Certificates {
            authority: write("ca.pem", certified.pem()),
            certificate: write("member.pem", leaf.pem()),
            key: write("member-key.pem", leaf_key.serialize_pem()),
        }
    }
}
