//! Bounds of rules, each with its unit and its reason.

/// Bytes of the text of a rule.
pub const TEXT_BYTES: usize = 2048;
/// Nodes of an expression: attributes, literals, operators and calls. A list counts as one.
pub const NODES: usize = 128;
/// Depth of an expression, and of its brackets: the depth of every recursion over it.
pub const DEPTH: usize = 16;
/// Items of one list.
pub const LIST_ITEMS: usize = 256;
/// Rules of one tenant and one event: the bits of a set.
pub const RULES: usize = 64;
/// Seconds from the begin of a rule to its end: a rule that is needed for longer is written again.
pub const LIFE_SECONDS: u64 = 90 * 86_400;
/// Bytes of a rule as CBOR: what one event of the trust feed holds.
pub const WIRE_BYTES: usize = tessera_token::limits::RULE_BYTES;
/// Bytes of a rule as a file.
pub const FILE_BYTES: usize = 32 * 1024;
/// Entries of each list of a selector.
pub const SELECTED: usize = 256;
/// Bytes of the name of an author.
pub const AUTHOR_BYTES: usize = 64;
/// Bytes of the reason of a rule.
pub const REASON_BYTES: usize = 256;
/// Devices and groups that a dry run counts apart; further ones are counted together.
pub const DRY_RUN_NAMES: usize = 200_000;
/// Errors of one rule within a minute, without a match, after which it is suspended.
pub const ERRORS: u32 = 100;
/// Bytes that one step of the cost reads.
pub const STEP_BYTES: u32 = 16;
