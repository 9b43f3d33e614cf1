//! Why a request about the cluster or its upkeep is refused, in etcd's own words.

/// A refusal: nothing happened. Its text is what etcd's clients match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A member with this ID is there already.
    #[error("etcdserver: member ID already exist")]
    MemberExists,
    /// Another member has one of these peer URLs.
    #[error("etcdserver: Peer URLs already exists")]
    PeerUrlExists,
    /// The member is not there, or not any more.
    #[error("etcdserver: member not found")]
    MemberNotFound,
    /// `--max-learners` is reached.
    #[error("etcdserver: too many learner members in cluster")]
    TooManyLearners,
    /// Only a learner can be promoted.
    #[error("etcdserver: can only promote a learner member")]
    NotLearner,
    /// The learner lags too far behind the leader.
    #[error("etcdserver: can only promote a learner member which is in sync with leader")]
    LearnerNotReady,
    /// Too few members would be left that have ever started.
    #[error("etcdserver: re-configuration failed due to not enough started members")]
    NotEnoughStarted,
    /// Too few members are reachable, or not for long enough.
    #[error("etcdserver: unhealthy cluster")]
    Unhealthy,
    /// A peer URL is not one.
    #[error("etcdserver: given member URLs are invalid")]
    BadUrls,
    /// Only the leader does this.
    #[error("etcdserver: not leader")]
    NotLeader,
    /// The member named cannot lead.
    #[error("etcdserver: bad leader transferee")]
    BadTransferee,
    /// The new leader did not take over in time; it may do so yet.
    #[error("etcdserver: request timed out, leader transfer took too long")]
    TransferTimeout,
    /// A learner does not serve this.
    #[error("etcdserver: rpc not supported for learner")]
    LearnerRefuses,
    /// The store has reached its quota.
    #[error("etcdserver: mvcc: database space exceeded")]
    NoSpace,
    /// The CORRUPT alarm is on.
    #[error("etcdserver: corrupt cluster")]
    Corrupt,
    /// The version to downgrade to cannot be read.
    #[error("etcdserver: wrong downgrade target version format")]
    DowngradeFormat,
    /// The cluster cannot be downgraded to this version.
    #[error("etcdserver: invalid downgrade target version")]
    DowngradeTarget,
    /// There is no downgrade to cancel.
    #[error("etcdserver: no inflight downgrade job")]
    NoDowngrade,
    /// The request asks for something that does not exist.
    #[error("etcdserver: unknown method")]
    UnknownMethod,
    /// Another change of the membership is not yet applied at the leader. Clients never see this:
    /// the member that serves them tries again.
    #[error("etcdserver: another change of the membership is pending")]
    ChangePending,
}
