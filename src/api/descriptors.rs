//! The protocol definitions at run time, for what works on any message: the JSON gateway, and the
//! names of methods.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, MethodDescriptor};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    let bytes: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    DescriptorPool::decode(bytes).expect("the build wrote what it compiled")
});

/// The method behind a gRPC path, `/package.Service/Method`.
pub fn method(path: &str) -> Option<MethodDescriptor> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let service = POOL.get_service_by_name(service)?;
    service
        .methods()
        .find(|candidate| candidate.name() == method)
}

/// Every method of every service: its path, the service, the method, the kind of call as go-grpc's
/// metrics spell it.
pub fn methods() -> impl Iterator<Item = (String, String, String, &'static str)> {
    POOL.services().flat_map(|service| {
        let methods: Vec<_> = service
            .methods()
            .map(|method| {
                let kind = match (method.is_client_streaming(), method.is_server_streaming()) {
                    (false, false) => "unary",
                    (false, true) => "server_stream",
                    (true, false) => "client_stream",
                    (true, true) => "bidi_stream",
                };
                let path = format!("/{}/{}", service.full_name(), method.name());
                let service = service.full_name().to_owned();
                (path, service, method.name().to_owned(), kind)
            })
            .collect();
        methods
    })
}
