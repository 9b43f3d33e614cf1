//! Users, roles and permissions, and clients that are somebody.

use etcd_client::{
    AuthClient, AuthDisableResponse, AuthEnableResponse, AuthenticateResponse, Client,
    ConnectOptions, GetOptions, GetResponse, Permission, PermissionType, PutOptions,
    RoleAddResponse, RoleDeleteResponse, RoleGetResponse, RoleGrantPermissionResponse,
    RoleListResponse, RoleRevokePermissionOptions, RoleRevokePermissionResponse, UserAddOptions,
    UserAddResponse, UserChangePasswordResponse, UserDeleteResponse, UserGetResponse,
    UserGrantRoleResponse, UserListResponse, UserRevokeRoleResponse,
};
use tonic::Code;

use crate::process::Member;
use crate::{assert_header, one, refused};

/// Hashing a password is meant to take long; this is as cheap as it goes.
const FLAGS: &[&str] = &["--bcrypt-cost=4"];

/// What a permission says, however its end was given: the crate finds prefixes again by the end.
fn shown(permission: &Permission) -> (Vec<u8>, i32, bool) {
    let open = permission.is_prefix() || permission.is_from_key();
    let ranged = open || !permission.range_end().is_empty();
    (permission.key().to_vec(), permission.get_type(), ranged)
}

#[tokio::test(flavor = "multi_thread")]
async fn permissions() {
    // What the crate tells of a permission without asking a server.
    let one = Permission::new(PermissionType::Read, "k");
    let read: Permission = Permission::read("k").with_range_end("m");
    assert_eq!((read.key(), read.range_end()), (&b"k"[..], &b"m"[..]));
    assert_eq!(
        (read.key_str().unwrap(), read.range_end_str().unwrap()),
        ("k", "m")
    );
    assert_eq!(read.get_type(), i32::from(PermissionType::Read));
    assert!(!read.is_prefix() && !read.is_from_key());
    let granted = [
        one,
        Permission::write("w"),
        Permission::read("p").with_prefix(),
        Permission::read_write("x").with_from_key(),
        Permission::write("r").with_range_end("s"),
    ];

    let (_members, mut client): (Vec<Member>, Client) = self::one(FLAGS).await;
    let mut added: RoleAddResponse = client.role_add("all").await.unwrap();
    assert_header(&header!(added), 1);
    for permission in &granted {
        let mut done: RoleGrantPermissionResponse = client
            .role_grant_permission("all", permission.clone())
            .await
            .unwrap();
        assert_header(&header!(done), 1);
    }
    let mut role: RoleGetResponse = client.role_get("all").await.unwrap();
    let mut told: Vec<_> = role.permissions().iter().map(shown).collect();
    told.sort();
    let mut expected: Vec<_> = granted.iter().map(shown).collect();
    expected.sort();
    assert_eq!(told, expected);
    assert_header(&header!(role), 1);

    let mut auth: AuthClient = client.auth_client();
    let everything = Permission::read("").with_all_keys();
    auth.role_grant_permission("all", everything).await.unwrap();
    for (key, options) in [
        ("k", None),
        ("p", Some(RoleRevokePermissionOptions::new().with_prefix())),
        (
            "x",
            Some(RoleRevokePermissionOptions::new().with_from_key()),
        ),
        (
            "r",
            Some(RoleRevokePermissionOptions::new().with_range_end("s")),
        ),
        ("", Some(RoleRevokePermissionOptions::new().with_all_keys())),
    ] {
        let mut done: RoleRevokePermissionResponse = client
            .role_revoke_permission("all", key, options)
            .await
            .unwrap();
        assert_header(&header!(done), 1);
    }
    let role: RoleGetResponse = auth.role_get("all").await.unwrap();
    assert_eq!(role.permissions(), [Permission::write("w")]);
    auth.role_revoke_permission("all", "w", None).await.unwrap();
    assert_eq!(
        refused(auth.role_revoke_permission("all", "w", None).await),
        (
            Code::FailedPrecondition,
            "etcdserver: permission is not granted to the role".to_owned()
        )
    );

    auth.role_add("other").await.unwrap();
    let precondition = |what: &str| (Code::FailedPrecondition, format!("etcdserver: {what}"));
    assert_eq!(
        refused(auth.role_add("other").await),
        precondition("role name already exists")
    );
    let mut roles: RoleListResponse = client.role_list().await.unwrap();
    assert_eq!(roles.roles(), ["all", "other"]);
    assert_header(&header!(roles), 1);
    let mut deleted: RoleDeleteResponse = client.role_delete("other").await.unwrap();
    assert_header(&header!(deleted), 1);
    auth.role_delete("all").await.unwrap();
    let roles: RoleListResponse = auth.role_list().await.unwrap();
    assert!(roles.roles().is_empty());
    assert_eq!(
        refused(auth.role_get("all").await),
        precondition("role name not found")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn users() {
    let (_members, mut client): (Vec<Member>, Client) = one(FLAGS).await;
    client.role_add("reader").await.unwrap();
    let mut added: UserAddResponse = client.user_add("ann", "pw", None).await.unwrap();
    assert_header(&header!(added), 1);
    let mut auth: AuthClient = client.auth_client();
    let options = UserAddOptions::new().with_no_pwd();
    auth.user_add("cert", "", Some(options)).await.unwrap();
    let precondition = |what: &str| (Code::FailedPrecondition, format!("etcdserver: {what}"));
    assert_eq!(
        refused(auth.user_add("ann", "pw", None).await),
        precondition("user name already exists")
    );
    let empty = refused(auth.user_add("", "pw", None).await);
    assert_eq!(
        empty,
        (
            Code::InvalidArgument,
            "etcdserver: user name is empty".to_owned()
        )
    );

    let mut granted: UserGrantRoleResponse = client.user_grant_role("ann", "reader").await.unwrap();
    assert_header(&header!(granted), 1);
    let mut ann: UserGetResponse = client.user_get("ann").await.unwrap();
    assert_eq!(ann.roles(), ["reader"]);
    assert_header(&header!(ann), 1);
    let mut revoked: UserRevokeRoleResponse =
        client.user_revoke_role("ann", "reader").await.unwrap();
    assert_header(&header!(revoked), 1);
    assert_eq!(
        refused(auth.user_revoke_role("ann", "reader").await),
        precondition("role is not granted to the user")
    );
    assert_eq!(
        refused(auth.user_grant_role("ann", "none").await),
        precondition("role name not found")
    );
    let mut changed: UserChangePasswordResponse =
        client.user_change_password("ann", "new").await.unwrap();
    assert_header(&header!(changed), 1);
    auth.user_change_password("ann", "newer").await.unwrap();

    let mut list: UserListResponse = client.user_list().await.unwrap();
    assert_eq!(list.users(), ["ann", "cert"]);
    assert_header(&header!(list), 1);
    let mut deleted: UserDeleteResponse = client.user_delete("ann").await.unwrap();
    assert_header(&header!(deleted), 1);
    auth.user_delete("cert").await.unwrap();
    let list: UserListResponse = auth.user_list().await.unwrap();
    assert!(list.users().is_empty());
    assert_eq!(
        refused(auth.user_get("ann").await),
        precondition("user name not found")
    );
}

/// Root, and Ann who may read below `r/`; authentication is on.
async fn with_auth() -> (Vec<Member>, Client) {
    let (members, mut client): (Vec<Member>, Client) = one(FLAGS).await;
    client.put("r/1", "one", None).await.unwrap();
    client.user_add("root", "secret", None).await.unwrap();
    client.role_add("root").await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.user_add("ann", "pw", None).await.unwrap();
    client.role_add("reader").await.unwrap();
    let below = Permission::read("r/").with_prefix();
    client.role_grant_permission("reader", below).await.unwrap();
    client.user_grant_role("ann", "reader").await.unwrap();
    let mut enabled: AuthEnableResponse = client.auth_enable().await.unwrap();
    assert_header(&header!(enabled), 2);
    let root = ConnectOptions::new().with_user("root", "secret");
    let address = &members[0].place.client_address;
    let root = Client::connect([address], Some(root)).await.unwrap();
    (members, root)
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_is_somebody() {
    let (members, mut root): (Vec<Member>, Client) = with_auth().await;
    let address = &members[0].place.client_address;
    let no_user = (
        Code::InvalidArgument,
        "etcdserver: user name is empty".to_owned(),
    );
    let denied = (
        Code::PermissionDenied,
        "etcdserver: permission denied".to_owned(),
    );
    let wrong = (
        Code::InvalidArgument,
        "etcdserver: authentication failed, invalid user ID or password".to_owned(),
    );

    let mut client: Client = Client::connect([address], None).await.unwrap();
    assert_eq!(refused(client.get("r/1", None).await), no_user);
    // The same client becomes Ann, and with it every service's client that was taken from it.
    let mut kv = client.kv_client();
    let ann = |password: &str| Some(("ann".to_owned(), password.to_owned()));
    assert_eq!(refused(client.update_user(ann("wrong")).await), wrong);
    client.update_user(ann("pw")).await.unwrap();
    let got: GetResponse = client.get("r/1", None).await.unwrap();
    assert_eq!(got.count(), 1);
    assert_eq!(kv.get("r/1", None).await.unwrap().count(), 1);
    let options = || Some(GetOptions::new().with_prefix());
    assert_eq!(client.get("r/", options()).await.unwrap().count(), 1);
    assert_eq!(refused(client.get("r", options()).await), denied);
    assert_eq!(refused(client.put("r/1", "x", None).await), denied);
    let options = PutOptions::new().with_prev_key();
    assert_eq!(refused(client.put("x", "x", Some(options)).await), denied);
    assert_eq!(refused(client.user_list().await), denied);
    client.refresh_token().await.unwrap();
    assert_eq!(client.get("r/1", None).await.unwrap().count(), 1);
    client.update_user(None).await.unwrap();
    assert_eq!(refused(client.get("r/1", None).await), no_user);

    let stranger = ConnectOptions::new().with_user("ann", "wrong");
    let stranger = Client::connect([address], Some(stranger)).await;
    assert_eq!(refused(stranger.map(|_| ())), wrong);
    let mut auth: AuthClient = root.auth_client();
    let mut token: AuthenticateResponse = auth
        .authenticate("ann".to_owned(), "pw".to_owned())
        .await
        .unwrap();
    assert!(!token.token().is_empty());
    assert_header(&header!(token), 2);
    assert_eq!(root.get("r/1", None).await.unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_refreshes_its_token_when_it_is_told_to() {
    let (members, mut root): (Vec<Member>, Client) = with_auth().await;
    let address = &members[0].place.client_address;
    let ann = ConnectOptions::new().with_user("ann", "pw");
    let mut forgetful: Client = Client::connect([address], Some(ann)).await.unwrap();
    let options = ConnectOptions::new()
        .with_user("ann", "pw")
        .with_auto_token_refresh(true);
    let mut careful: Client = Client::connect([address], Some(options)).await.unwrap();
    for client in [&mut forgetful, &mut careful] {
        client.get("r/1", None).await.unwrap();
    }
    // Turned off and on again, no token is good any more.
    let mut disabled: AuthDisableResponse = root.auth_disable().await.unwrap();
    assert_header(&header!(disabled), 2);
    let mut nobody: Client = Client::connect([address], None).await.unwrap();
    let mut auth: AuthClient = nobody.auth_client();
    auth.auth_enable().await.unwrap();
    assert_eq!(
        refused(forgetful.get("r/1", None).await),
        (
            Code::Unauthenticated,
            "etcdserver: invalid auth token".to_owned()
        )
    );
    assert_eq!(careful.get("r/1", None).await.unwrap().count(), 1);
    forgetful.refresh_token().await.unwrap();
    assert_eq!(forgetful.get("r/1", None).await.unwrap().count(), 1);
    root.refresh_token().await.unwrap();
    let mut auth: AuthClient = root.auth_client();
    auth.auth_disable().await.unwrap();
    assert_eq!(nobody.get("r/1", None).await.unwrap().count(), 1);
}
