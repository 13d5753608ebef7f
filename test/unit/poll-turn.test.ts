import { setImmediate as turn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { PollTurn } from '../../src/client/poll-turn.js'

test('calls may be answered without a turn of the event loop for two milliseconds at most', async () => {
  const polling = new PollTurn()
  expect(polling.mayPoll(1000)).toBe(true)
  expect(polling.mayPoll(1001.9)).toBe(true)
  expect(polling.mayPoll(1002)).toBe(false)
  await Promise.resolve()
  expect(polling.mayPoll(1005)).toBe(false)
  await turn()
  expect(polling.mayPoll(1006)).toBe(true)
  expect(polling.mayPoll(1008)).toBe(false)
})

test('a loop of answered calls lets timers run', async () => {
  const polling = new PollTurn()
  let ticks = 0
  const timer = setInterval(() => ticks++, 2)
  const end = performance.now() + 100
  for (let calls = 0; performance.now() < end && calls < 1e7; calls++) {
    // An answer that is there settles its promise at once; any other takes a turn of the event loop.
    if (polling.mayPoll(performance.now())) await Promise.resolve()
    else await turn()
  }
  clearInterval(timer)
  expect(ticks).toBeGreaterThan(5)
})
