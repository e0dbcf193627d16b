//! The kinds of resources, and one of something for each of them.

/// How many clients a limit is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Level {
    Device,
    Tenant,
    All,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident: $name:ident,)*) => {
        /// A resource that is shared out.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// Its name as the label of a gauge.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$kind => stringify!($name),)* }
            }

            /// All labels of `limits_hit_total` for it.
            pub(crate) fn limits(self) -> [&'static str; 3] {
                [Level::Device, Level::Tenant, Level::All].map(|level| self.limit(level))
            }

            /// The label of `limits_hit_total`.
            pub(super) const fn limit(self, level: Level) -> &'static str {
                match (self, level) {
                    $(
                        (Self::$kind, Level::Device) => concat!(stringify!($name), "_per_device"),
                        (Self::$kind, Level::Tenant) => concat!(stringify!($name), "_per_tenant"),
                        (Self::$kind, Level::All) => concat!(stringify!($name), "_in_all"),
                    )*
                }
            }
        }

        /// One of something for each kind.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct PerKind<T> {
            $(
                #[doc = concat!("That of [`Kind::", stringify!($kind), "`].")]
                pub $name: T,
            )*
        }

        impl<T> PerKind<T> {
            /// That of one kind.
            pub const fn of(&self, kind: Kind) -> &T {
                match kind { $(Kind::$kind => &self.$name,)* }
            }
        }
    };
}

kinds! {
    /// Bytes of messages that wait for sessions, are under way to them, or were received and not released.
    QueuedBytes: queued_bytes,
    /// Subscriptions with a route.
    Subscriptions: subscriptions,
    /// Links into the router: wildcard subscriptions and shared groups.
    Links: links,
    /// Commit logs of the router: filters that no other device had before.
    Logs: logs,
    /// Commit logs of the middle size, and of the largest: without a share of these a filter has a smaller one.
    MiddleLogs: middle_logs,
    /// As [`Kind::MiddleLogs`].
    LargeLogs: large_logs,
}
