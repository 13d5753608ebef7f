import { expect, it } from 'vitest'
import { ExtentAllocator } from '../../src/pool/allocator.js'
import type { Extent } from '../../src/pool/slot.js'
import { random } from './pool-medium.js'

it('takes the smallest piece that fits, and joins neighbours that become free', () => {
  const used = [
    { offset: 3 * 4096, length: 4096 },
    { offset: 6 * 4096, length: 4096 },
  ]
  const space = new ExtentAllocator(0, 20 * 4096, 4096, used)
  expect(space.fragments).toBe(3)
  expect(space.allocate(2 * 4096)).toEqual([{ offset: 4 * 4096, length: 2 * 4096 }])
  expect(space.allocate(1)).toEqual([{ offset: 0, length: 4096 }])
  space.release([{ offset: 0, length: 4096 }, ...used, { offset: 4 * 4096, length: 2 * 4096 }])
  expect(space.fragments).toBe(1)
  expect(space.largest).toBe(20 * 4096)
})

it('makes a region of several pieces when no single one is large enough, and says when it cannot', () => {
  const used = Array.from({ length: 100 }, (_, index) => ({ offset: (2 * index + 1) * 4096, length: 4096 }))
  const space = new ExtentAllocator(0, 200 * 4096, 4096, used)
  expect(space.allocate(3 * 4096)).toHaveLength(3)
  const before = space.free
  expect(() => space.allocate(96 * 4096)).toThrow(expect.objectContaining({ code: 'POOL_FULL' }))
  expect(() => space.allocate(98 * 4096)).toThrow(expect.objectContaining({ code: 'POOL_FULL' }))
  expect(space.free).toBe(before)
  expect(space.allocate(95 * 4096)).toHaveLength(95)
})

it('never hands out a byte twice and loses none, over 20,000 random steps', () => {
  const seed = Date.now()
  const next = random(seed)
  const end = 4096 * 4096
  const space = new ExtentAllocator(0, end, 4096)
  const owner = new Int32Array(4096)
  const live = new Map<number, Extent[]>()
  for (let step = 1; step <= 20_000; step++) {
    if (next() < 0.55) {
      try {
        const extents = space.allocate(1 + Math.floor(next() ** 4 * 400_000))
        for (const { offset, length } of extents) {
          for (let block = offset / 4096; block < (offset + length) / 4096; block++) {
            expect(owner[block], `seed ${seed}`).toBe(0)
            owner[block] = step
          }
        }
        live.set(step, extents)
      } catch (error) {
        expect(error).toMatchObject({ code: 'POOL_FULL' })
      }
    } else {
      const [id, extents] = [...live][Math.floor(next() * live.size)] ?? []
      if (id === undefined || extents === undefined) continue
      space.release(extents)
      for (const { offset, length } of extents) owner.fill(0, offset / 4096, (offset + length) / 4096)
      live.delete(id)
    }
    expect(space.free, `seed ${seed}`).toBe(owner.reduce((sum, id) => sum + (id === 0 ? 4096 : 0), 0))
  }
  for (const extents of live.values()) space.release(extents)
  expect([space.fragments, space.free]).toEqual([1, end])
})
