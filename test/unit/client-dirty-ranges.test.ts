import { expect, test } from 'vitest'
import { DirtyRanges } from '../../src/client/dirty-ranges.js'

test('overlapping and touching ranges become one, others stay apart', () => {
  const dirty = new DirtyRanges()
  dirty.add(10, 10)
  dirty.add(40, 10)
  dirty.add(20, 5)
  expect(dirty.toArray()).toEqual([
    { offset: 10, length: 15 },
    { offset: 40, length: 10 },
  ])
  dirty.add(0, 45)
  expect(dirty.toArray()).toEqual([{ offset: 0, length: 50 }])
})

test('subtracting cuts, and says what it took', () => {
  const dirty = new DirtyRanges()
  dirty.add(0, 100)
  dirty.add(200, 10)
  expect(dirty.subtract(50, 155)).toEqual([
    { offset: 50, length: 50 },
    { offset: 200, length: 5 },
  ])
  expect(dirty.toArray()).toEqual([
    { offset: 0, length: 50 },
    { offset: 205, length: 5 },
  ])
  expect(dirty.subtract(100, 50)).toEqual([])
})

test('random adds and subtracts agree with a map of bytes', () => {
  const seed = Number(process.env.RC_SEED ?? Date.now() % 1_000_000)
  console.log(`seed ${seed}`)
  let state = seed
  const random = (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
  const size = 300
  for (let round = 0; round < 200; round++) {
    const dirty = new DirtyRanges()
    const model = new Uint8Array(size)
    for (let step = 0; step < 60; step++) {
      const offset = random(size)
      const length = random(Math.min(40, size - offset + 1))
      if (random(3) > 0) {
        dirty.add(offset, length)
        model.fill(1, offset, offset + length)
      } else {
        const before = model.slice(offset, offset + length).reduce((sum, bit) => sum + bit, 0)
        const taken = dirty.subtract(offset, length)
        expect(taken.reduce((sum, interval) => sum + interval.length, 0)).toBe(before)
        model.fill(0, offset, offset + length)
      }
      const drawn = new Uint8Array(size)
      for (const interval of dirty.toArray()) drawn.fill(1, interval.offset, interval.offset + interval.length)
      expect(Buffer.compare(drawn, model)).toBe(0)
    }
  }
})

test('beyond the bound the nearest are joined, and nothing dirty is forgotten', () => {
  const dirty = new DirtyRanges()
  for (let i = 0; i < 3000; i++) dirty.add(i * 100 + (i % 7), 10)
  expect(dirty.count).toBeLessThanOrEqual(1024)
  const all = dirty.toArray()
  for (let i = 0; i < 3000; i++) {
    const offset = i * 100 + (i % 7)
    expect(all.some((range) => range.offset <= offset && offset + 10 <= range.offset + range.length)).toBe(true)
  }
})
