import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { errorCodes } from '../../src/errors.js'
import { fromNative, fromNativeCode, nativeCode } from '../../src/native-error.js'

const root = new URL('../../', import.meta.url)

test('docs/errors.md has a section for every code, and for no other', () => {
  const text = readFileSync(new URL('docs/errors.md', root), 'utf8')
  const documented = [...text.matchAll(/^### ([A-Z_]+)$/gm)].map(([, code]) => code)
  expect(documented.toSorted()).toEqual(Object.keys(errorCodes).toSorted())
})

test('the numbers of native/base/result.h are those that are mapped here, each to a code of its own meaning', () => {
  const header = readFileSync(new URL('native/base/result.h', root), 'utf8')
  const declared = [...header.matchAll(/^ {2}(\w+) = (\d+),/gm)].map(([, name, number]) => [name, Number(number)])
  expect(declared.length).toBeGreaterThan(20)
  expect(Object.entries(nativeCode)).toEqual(declared)
  for (const [name, number] of declared) {
    if (name !== 'ok') expect(fromNativeCode(number as number, 'x').code, String(name)).not.toBe('INTERNAL')
  }
})

test('an error without a number is a bug of ours, and is told as one', () => {
  expect(fromNative(new Error('what')).code).toBe('INTERNAL')
  expect(fromNative('what').code).toBe('INTERNAL')
  expect(fromNative(Object.assign(new Error('no'), { nativeCode: 14, systemError: 13 }))).toMatchObject({
    code: 'SYSTEM',
    message: 'no (EACCES)',
    details: { systemError: 'EACCES' },
  })
})
