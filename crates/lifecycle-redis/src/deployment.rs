//! What kind of store this is: one that takes writes for every key, or one that does not.
//!
//! A cluster's node holds a part of the keys, and a replica what its primary had. To a reader both look like a store
//! with little in it, and "no agents" read from them would be wrong. So a reader asks first. A writer learns of it from
//! a refusal.

use std::collections::HashMap;
use std::fmt;

/// A kind of store that is not supported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deployment {
    /// It follows a primary, and takes no writes.
    Replica {
        /// `host:port` of its primary.
        of: String,
    },
    /// It is one node of a Redis Cluster.
    ClusterNode,
}

impl Deployment {
    /// Reads the sections `replication` and `cluster` of INFO; `None` for a store that is supported.
    #[must_use]
    pub fn read(info: &HashMap<String, String>) -> Option<Self> {
        let field = |name: &str| info.get(name).map_or("", String::as_str);
        if field("cluster_enabled") == "1" {
            return Some(Self::ClusterNode);
        }
        let of = || format!("{}:{}", field("master_host"), field("master_port"));
        (field("role") == "slave").then(|| Self::Replica { of: of() })
    }

    /// Whether it may become a supported one without a change of settings: a replica can be promoted.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Replica { .. } => true,
            Self::ClusterNode => false,
        }
    }
}

impl fmt::Display for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replica { of } => write!(
                f,
                "a replica (of {of}), which may lag behind and takes no writes: set redis.url to the primary"
            ),
            Self::ClusterNode => f.write_str(
                "a node of a Redis Cluster, which holds only a part of the keys and is not supported yet: \
                 set redis.url to a single server",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &str)]) -> Option<Deployment> {
        Deployment::read(&fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }

    #[test]
    fn replicas_and_nodes_of_a_cluster_are_told_and_a_single_server_is_fine() {
        assert_eq!(read(&[("role", "master"), ("cluster_enabled", "0")]), None);
        assert_eq!(read(&[]), None);
        let replica = read(&[("role", "slave"), ("master_host", "db"), ("master_port", "6379")]).unwrap();
        assert_eq!(replica, Deployment::Replica { of: "db:6379".into() });
        assert!(replica.passes() && replica.to_string().contains("a replica (of db:6379)"));
        let node = read(&[("role", "slave"), ("cluster_enabled", "1")]).unwrap();
        assert!(node == Deployment::ClusterNode && !node.passes());
    }
}
