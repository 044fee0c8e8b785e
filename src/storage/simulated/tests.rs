use super::*;
use crate::env::manual::block_on;

const RELAXED: Durability = Durability::Relaxed;
const STRICT: Durability = Durability::Strict;

#[test]
fn a_crash_keeps_what_was_synced_and_any_part_of_the_rest() {
    let disk = SimulatedStorage::new(1);
    let file = block_on(async {
        let file = disk.create().await?;
        disk.write(file, 0, &[1; 2000], STRICT).await?;
        disk.write(file, 2000, &[2; 3000], RELAXED).await?;
        Ok::<_, Error>(file)
    });
    let file = file.unwrap();
    let rng = Rng::new(2);
    let images: Vec<_> = (0..200).map(|_| disk.crash(&rng).contents(file)).collect();
    assert!(images.iter().all(|bytes| bytes.starts_with(&[1; 2000]) && bytes.len() <= 5000));
    let count = |wanted: &dyn Fn(&[u8]) -> bool| images.iter().filter(|it| wanted(it)).count();
    assert!(count(&|bytes| bytes.len() == 2000) > 0, "dropped");
    assert!(count(&|bytes| bytes[2000..] == [2; 3000]) > 0, "kept");
    assert!(count(&|bytes| (2001..5000).contains(&bytes.len())) > 0, "cut");
    assert!(count(&|bytes| bytes.len() == 5000 && bytes[2000..] != [2; 3000]) > 0, "garbage");
    assert_eq!(disk.restart().contents(file).len(), 5000);
    assert_eq!(disk.contents(file).len(), 5000);
}

#[test]
fn a_crash_may_undo_creations_removals_and_cuts_that_were_not_synced() {
    let rng = Rng::new(3);
    let (mut gone, mut stale, mut reborn) = (0, 0, 0);
    for _ in 0..100 {
        let disk = SimulatedStorage::new(rng.next());
        block_on(async {
            let (old, new) = (disk.create().await?, disk.create().await?);
            disk.write(old, 0, &[7; 10], STRICT).await?;
            disk.remove(old).await?;
            let crashed = disk.crash(&rng);
            gone += u32::from(crashed.len(new).await.is_err());
            reborn += u32::from(crashed.contents(old) == [7; 10]);
            assert_eq!(disk.create().await?, old);
            assert_eq!(disk.len(old).await?, 0);
            disk.write(old, 0, &[8; 3], RELAXED).await?;
            stale += u32::from(disk.crash(&rng).contents(old).ends_with(&[7; 7]));
            disk.sync(old).await?;
            assert_eq!(disk.crash(&rng).contents(old), [8; 3]);
            Ok::<_, Error>(())
        })
        .unwrap();
    }
    assert!(gone > 0 && reborn > 0 && stale > 0);
}

#[test]
fn faults_come_when_they_are_planned_and_once() {
    let disk = SimulatedStorage::new(4);
    block_on(async {
        let file = disk.create().await.unwrap();
        disk.inject(Some(Call::Write), 1, Fault::Short);
        disk.inject(Some(Call::Sync), 0, Fault::Fail(Code::Io));
        disk.write(file, 0, b"1234", RELAXED).await.unwrap();
        assert_eq!(disk.write(file, 4, b"5678", RELAXED).await.unwrap_err().code(), Code::Io);
        assert_eq!(disk.contents(file), b"123456");
        assert!(disk.sync(file).await.is_err());
        disk.sync(file).await.unwrap();
        disk.set_quota_bytes(Some(8));
        let full = disk.write(file, 6, b"789", RELAXED).await;
        assert_eq!(full.unwrap_err().code(), Code::QuotaExceeded);
        assert_eq!(disk.create().await.unwrap_err().code(), Code::QuotaExceeded);
        disk.inject(None, 0, Fault::PowerCut);
        assert!(disk.write(file, 8, b"!", STRICT).await.is_err());
        assert!(disk.len(file).await.is_err());
    });
}

#[test]
#[should_panic(expected = "two places at once")]
fn writing_a_file_from_two_places_at_once_is_a_panic() {
    let disk = SimulatedStorage::new(5);
    disk.set_polls_max(100);
    block_on(async {
        let mut first = Box::pin(disk.write(0, 0, b"1", RELAXED));
        std::future::poll_fn(|context| {
            let pending = first.as_mut().poll(context).is_pending();
            assert!(pending);
            std::task::Poll::Ready(())
        })
        .await;
        disk.write(0, 1, b"2", RELAXED).await.unwrap();
    });
}
