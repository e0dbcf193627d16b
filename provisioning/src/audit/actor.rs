use actix::{Actor, AtomicResponse, Context, Handler, Message, Supervised, WrapFuture};
use tessera_runtime::sql::Database;
use tessera_runtime::store::StoreError;
use tokio::sync::watch;

use crate::limits::MAILBOX;
use crate::tables::Tables;

/// Chains pending audit rows, one group after the other.
pub(crate) struct AuditActor {
    pub(crate) database: Database,
    pub(crate) tables: Tables,
    /// Told after each group.
    pub(crate) chained: watch::Sender<()>,
}

impl Actor for AuditActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX);
    }
}

impl Supervised for AuditActor {}

/// Chain everything that is pending now.
pub(crate) struct ChainPending;

impl Message for ChainPending {
    type Result = Result<(), StoreError>;
}

impl Handler<ChainPending> for AuditActor {
    type Result = AtomicResponse<Self, Result<(), StoreError>>;

    fn handle(&mut self, _message: ChainPending, _context: &mut Self::Context) -> Self::Result {
        let (database, tables) = (self.database.clone(), self.tables.clone());
        let chained = self.chained.clone();
        let work = async move {
            while let Some(batch) = super::chain_pending(&tables).await? {
                match database.commit(batch).await {
                    // Another process has chained them, or others.
                    Ok(()) | Err(StoreError::Conflict { .. }) => {
                        chained.send_replace(());
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        AtomicResponse::new(Box::pin(work.into_actor(self)))
    }
}
