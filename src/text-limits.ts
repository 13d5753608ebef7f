/** How long texts may be that callers give and pools keep, in bytes of UTF-8. The pool's format has room for no more. */
export const textLimits = {
  /** Of a region. */
  nameBytes: 255,
  /** Of a client, shown to others as the owner of a region. */
  identityBytes: 128,
  cursorNameBytes: 32,
} as const
