//! [D] The memory of one producer: what its batches may occupy, who waits for some of it, and the buffers and
//! compressors to reuse.
//!
//! Invariants: what is reserved never exceeds the limit; a reservation is given back exactly once, when it is dropped;
//! whoever waits is woken after that, with no lock held. Lock ranks: `ProducerBuffer`, `BufferPool`. Kafka's counterpart:
//! `BufferPool`.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::record::{Codec, Packer};
use crate::sync::{Condition, Rank, RankedMutex, wake};

/// The budget.
#[derive(Debug)]
pub(super) struct Memory {
    max: u64,
    state: RankedMutex<MemoryState>,
    freed: Condition,
}

#[derive(Debug, Default)]
struct MemoryState {
    reserved: u64,
    sleepers: usize,
    wakers: Vec<Waker>,
}

/// Who waits without sleeping for what came free. They are woken when this is dropped, by one who holds no lock.
#[derive(Debug)]
pub(super) struct Freed(Vec<Waker>);

/// A part of the budget, given back when dropped. The one who drops it holds no lock.
#[derive(Debug)]
pub(super) struct Reservation {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Memory {
    pub(super) fn new(max: u64) -> Arc<Memory> {
        let state = RankedMutex::new(Rank::ProducerBuffer, MemoryState::default());
        Arc::new(Memory { max, state, freed: Condition::new() })
    }

    pub(super) fn reserved(&self) -> u64 {
        self.state.lock().reserved
    }

    /// Takes a part of the budget; never waits.
    ///
    /// # Errors
    /// [`Error::BufferFull`].
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation> {
        let mut state = self.state.lock();
        let free = self.max.saturating_sub(state.reserved);
        if bytes > free {
            return Err(Error::BufferFull { needed: bytes, free, max: self.max });
        }
        state.reserved += bytes;
        Ok(Reservation { memory: Arc::clone(self), bytes })
    }

    /// Sleeps until so much is free, `timeout` at most; whether it is.
    pub(super) fn wait_for(&self, bytes: u64, timeout: Duration) -> bool {
        let mut state = self.state.lock();
        state.sleepers += 1;
        let is_short = |state: &mut MemoryState| bytes > self.max.saturating_sub(state.reserved);
        let is_still_short = self.freed.wait_while_timeout(&mut state, timeout, is_short);
        state.sleepers -= 1;
        !is_still_short
    }

    /// Has `waker` woken when something is given back next.
    pub(super) fn register(&self, waker: &Waker) {
        let waker = waker.clone();
        let mut state = self.state.lock();
        if state.wakers.iter().any(|known| known.will_wake(&waker)) {
            // The drop of a waker is user code.
            drop(state);
            drop(waker);
            return;
        }
        state.wakers.push(waker);
    }

    fn release(&self, bytes: u64) -> Freed {
        let (has_sleepers, wakers) = {
            let mut state = self.state.lock();
            state.reserved = state.reserved.saturating_sub(bytes);
            (state.sleepers > 0, std::mem::take(&mut state.wakers))
        };
        if has_sleepers {
            self.freed.notify_all();
        }
        Freed(wakers)
    }
}

impl Drop for Freed {
    fn drop(&mut self) {
        self.0.drain(..).for_each(wake);
    }
}

impl Reservation {
    /// Gives it back; whoever sleeps for it is woken at once, the wakers of the others, which are user code, later.
    pub(super) fn release(mut self) -> Freed {
        self.memory.release(std::mem::take(&mut self.bytes))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            drop(self.memory.release(self.bytes));
        }
    }
}

/// Room beyond a batch's limit that keeps the encoder from growing its buffer.
const BUFFER_SLACK: usize = 64;

/// Buffers of one size, to be used again.
#[derive(Debug)]
pub(super) struct BufferPool {
    buffer_bytes: usize,
    free: RankedMutex<Vec<Vec<u8>>>,
}

impl BufferPool {
    /// For batches of so many bytes.
    pub(super) fn new(batch_bytes: usize) -> BufferPool {
        let buffer_bytes = batch_bytes.saturating_add(BUFFER_SLACK);
        BufferPool { buffer_bytes, free: RankedMutex::new(Rank::BufferPool, Vec::new()) }
    }

    /// An empty buffer with room for a batch of so many bytes.
    pub(super) fn take(&self, batch_bytes: usize) -> Vec<u8> {
        let bytes = batch_bytes.saturating_add(BUFFER_SLACK);
        let pooled = if bytes <= self.buffer_bytes { self.free.lock().pop() } else { None };
        pooled.unwrap_or_else(|| Vec::with_capacity(bytes.max(self.buffer_bytes)))
    }

    /// Keeps the buffer, unless it has grown beyond what most batches need.
    pub(super) fn give_back(&self, buffer: Vec<u8>) {
        if buffer.capacity() >= self.buffer_bytes && buffer.capacity() <= self.buffer_bytes.saturating_mul(2) {
            self.free.lock().push(buffer);
        }
    }
}

/// The most compressors that are kept: enough for as many threads as compress at a time, with the few codecs in use.
const PACKERS_MAX: usize = 16;

/// Compressors, to be used again: what a codec allocates for one costs more than compressing a small batch.
#[derive(Debug)]
#[expect(clippy::vec_box, reason = "a builder holds it in a box, lest every open batch carry it along")]
pub(super) struct PackerPool(RankedMutex<Vec<Box<Packer>>>);

impl PackerPool {
    pub(super) fn new() -> PackerPool {
        PackerPool(RankedMutex::new(Rank::BufferPool, Vec::new()))
    }

    /// One for this codec.
    ///
    /// # Errors
    /// [`Error::UnsupportedCodec`].
    pub(super) fn take(&self, codec: Codec) -> Result<Box<Packer>> {
        let pooled = {
            let mut free = self.0.lock();
            let found = free.iter().position(|packer| packer.codec() == codec);
            found.map(|index| free.swap_remove(index))
        };
        pooled.map_or_else(|| Packer::new(codec).map(Box::new), Ok)
    }

    /// Keeps it, where there are enough instead of another.
    pub(super) fn give_back(&self, packer: Option<Box<Packer>>) {
        let Some(packer) = packer else { return };
        let surplus = {
            let mut free = self.0.lock();
            let surplus = if free.len() < PACKERS_MAX { None } else { Some(free.remove(0)) };
            free.push(packer);
            surplus
        };
        drop(surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_never_exceeds_the_limit_and_comes_back_when_dropped() {
        let memory = Memory::new(100);
        let first = memory.reserve(60).unwrap();
        let refused = memory.reserve(41);
        assert!(matches!(refused, Err(Error::BufferFull { needed: 41, free: 40, max: 100 })), "{refused:?}");
        let second = memory.reserve(40).unwrap();
        drop(first);
        assert_eq!(memory.reserved(), 40);
        drop(second);
        assert_eq!(memory.reserved(), 0);
    }

    #[test]
    fn only_buffers_of_the_usual_size_are_kept() {
        let pool = BufferPool::new(100);
        pool.give_back(Vec::with_capacity(1000));
        pool.give_back(Vec::new());
        assert!(pool.free.lock().is_empty());
        let kept = pool.take(100);
        let address = kept.as_ptr();
        pool.give_back(kept);
        let again = pool.take(100);
        assert_eq!(again.as_ptr(), address);
        assert!(pool.free.lock().is_empty());
        assert!(pool.take(500).capacity() >= 500);
    }
}
