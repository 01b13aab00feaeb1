import { expect, test } from "bun:test";
import { firstToGo } from "../src/limits/share.ts";

const holderOf = (name: string) => name.charAt(0);

test("the half that makes way is of those who hold most, the oldest first", () => {
  expect(firstToGo(["b1", "a1", "a2", "c1", "a3", "b2", "a4", "a5"], holderOf, 0)).toEqual(["a1", "a2", "a3", "b1"]);
});

test("where everybody holds one, the oldest make way", () => {
  expect(firstToGo(["a1", "b1", "c1", "d1", "e1"], holderOf, 1)).toEqual(["a1", "b1", "c1"]);
});

test("more than a half makes way where more are needed, and no more than there are", () => {
  const all = ["a1", "a2", "a3", "b1"];
  expect(firstToGo(all, holderOf, 3)).toEqual(["a1", "a2", "a3"]);
  expect(firstToGo(all, holderOf, 9).toSorted()).toEqual(all);
  expect(firstToGo([], holderOf, 9)).toEqual([]);
});
