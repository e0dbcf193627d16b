use super::*;
use crate::limits::ROUTER_LINKS;
use tokio::sync::oneshot;

fn keeper() -> Keeper {
    Keeper::start(Arc::default(), Arc::new(|_| Residue::default()), Duration::from_millis(50))
        .ok()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_link_too_many_is_refused_and_a_closed_one_makes_room() {
    let mut keeper = keeper();
    for _ in 1..ROUTER_LINKS {
        assert!(keeper.take_name().is_ok());
    }
    let last = keeper.open("small/1").await.ok().unwrap();
    assert_eq!(keeper.open("small/2").await.err(), Some(NoLink::TooMany));
    let mut writer = ask(&mut keeper, |answer| Request::Open { log: None, answer }).await;
    assert_eq!(writer.try_recv().unwrap().err(), Some(NoLink::TooMany));
    assert_eq!(keeper.counters.refused.load(Ordering::Relaxed), 2);
    keeper.close(last).await;
    let mut writer = ask(&mut keeper, |answer| Request::Open { log: None, answer }).await;
    let last = writer.try_recv().unwrap().ok().unwrap();
    assert_eq!(keeper.open("small/2").await.err(), Some(NoLink::TooMany));
    keeper.close_writer(last);
    assert!(keeper.open("small/2").await.is_ok());
}

type Answered = oneshot::Receiver<Result<OwnedLink, NoLink>>;

/// Gives the keeper one request.
async fn ask(keeper: &mut Keeper, request: impl FnOnce(Answer) -> Request) -> Answered {
    let (answer, answered) = oneshot::channel();
    keeper.serve(request(answer)).await;
    keeper.let_the_writer_go().await;
    answered
}

async fn step(keeper: &mut Keeper) {
    keeper.tick().await;
    keeper.let_the_writer_go().await;
}

/// Takes a reader into the present router, out of the one it was in.
async fn move_on(keeper: &mut Keeper, log: &str, link: OwnedLink) -> OwnedLink {
    let (log, from) = (Some(log.to_owned()), link.place.clone());
    let follow = |answer| Request::Follow { log, from, dead: false, answer };
    let moved = ask(keeper, follow).await.try_recv().unwrap().ok().unwrap();
    keeper.leave(link).await;
    moved
}

/// Stops the present router until the returned sender is dropped.
async fn hang(keeper: &mut Keeper) -> std::sync::mpsc::SyncSender<()> {
    keeper.connect(u32::MAX, None).await.ok().unwrap().hang_router()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_writer_comes_after_the_readers_into_each_router_also_when_one_hangs_meanwhile() {
    let mut keeper = keeper();
    let one = keeper.open("small/1").await.ok().unwrap();
    let two = keeper.open("small/2").await.ok().unwrap();
    let mut writer = ask(&mut keeper, |answer| Request::Open { log: None, answer }).await;
    let writer = writer.try_recv().unwrap().ok().unwrap();
    assert!(keeper.replace(Cause::Died).await.is_ok());
    let from = writer.place.clone();
    let follow = |answer| Request::Follow { log: None, from, dead: false, answer };
    let mut writer = ask(&mut keeper, follow).await;
    let one = move_on(&mut keeper, "small/1", one).await;
    assert!(writer.try_recv().is_err(), "a reader is missing in router 2");
    // Nearly all the time that the readers have.
    keeper.writer.as_mut().unwrap().ticks = ROUTER_MOVE_TICKS - 1;
    let release = hang(&mut keeper).await;
    // The last reader's request finds that: it gets its link in router 3, and the writer's turn comes next.
    let two = move_on(&mut keeper, "small/2", two).await;
    assert_eq!((keeper.current.era.number(), two.era().number()), (3, 3));
    step(&mut keeper).await;
    assert!(writer.try_recv().is_err(), "a reader is missing in router 3");
    let one = move_on(&mut keeper, "small/1", one).await;
    assert_eq!(writer.try_recv().unwrap().ok().unwrap().era().number(), 3);
    assert_eq!((one.era().number(), keeper.names.in_use()), (3, 3));
    drop(release);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_that_gives_the_writer_no_link_is_replaced_and_the_readers_go_first() {
    for is_new in [false, true] {
        let mut keeper = keeper();
        let reader = keeper.open("small/1").await.ok().unwrap();
        let release = hang(&mut keeper).await;
        let mut writer = if is_new {
            ask(&mut keeper, |answer| Request::Open { log: None, answer }).await
        } else {
            let from = Place { name: keeper.take_name().unwrap(), era: Era::new(0) };
            let follow = |answer| Request::Follow { log: None, from, dead: false, answer };
            ask(&mut keeper, follow).await
        };
        assert_eq!(keeper.current.era.number(), 2, "it was found to hang");
        step(&mut keeper).await;
        assert!(writer.try_recv().is_err(), "the reader is missing in router 2");
        move_on(&mut keeper, "small/1", reader).await;
        assert_eq!(writer.try_recv().unwrap().ok().unwrap().era().number(), 2);
        assert_eq!(keeper.names.in_use(), 2, "the reader and the writer");
        drop(release);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routers_that_hang_are_few_and_health_is_bad_until_one_of_them_ends() {
    let mut keeper = keeper();
    let mut releases = Vec::new();
    for _ in 0..OLD_ROUTERS {
        releases.push(hang(&mut keeper).await);
        assert!(keeper.replace(Cause::Hung).await.is_ok());
    }
    let last = keeper.current.era.number();
    releases.push(hang(&mut keeper).await);
    assert!(keeper.replace(Cause::Hung).await.is_err());
    for _ in 0..3 {
        step(&mut keeper).await;
        assert!(!keeper.health.is_good());
        assert_eq!(keeper.open("small/1").await.err(), Some(NoLink::Unavailable));
    }
    assert_eq!((keeper.old.len(), keeper.current.era.number()), (OLD_ROUTERS, last));
    assert_eq!(keeper.health.old.load(Ordering::Relaxed), OLD_ROUTERS as u64);
    releases.remove(0);
    while !keeper.health.is_good() {
        step(&mut keeper).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(keeper.current.era.number(), last + 1);
    assert!(keeper.open("small/1").await.is_ok());
}
