//! Gather and scatter against a loop over single elements, for every arrangement of pages, and as each other's
//! inverse for arbitrary ones; and what a wrong table, base or length does: nothing.

use kvcache::copy::{Copier, Temperature};
use kvcache::error::Status;
use kvcache::layout::{Bases, BasesMut, Dtype, Geometry, Order, Paged, PagedShape, Planes, Shape, Table};
use proptest::prelude::*;

const GUARD: u8 = 0xA5;

/// The strides of a layer as the tensor's shape says them, worked out apart from the library:
/// page, plane, token, head, and the bytes of a buffer.
#[derive(Clone, Copy)]
struct Strides {
    page: usize,
    plane: usize,
    token: usize,
    head: usize,
    base_bytes: usize,
}

fn strides(shape: &Shape, paged: &PagedShape) -> Strides {
    let row = (shape.head_dim * shape.dtype.bytes()) as usize;
    let (heads, tokens) = (shape.kv_heads_count as usize, paged.tokens_per_page as usize);
    let (pages, planes) = (paged.pages_count as usize, shape.planes_count as usize);
    let plane_page = heads * tokens * row;
    let (token, head) = match paged.order {
        Order::Nhd => (heads * row, row),
        Order::Hnd => (row, tokens * row),
    };
    let (page, plane, planes_in_buffer) = match paged.planes {
        Planes::Separate => (plane_page, 0, 1),
        Planes::Outer => (plane_page, pages * plane_page, planes),
        Planes::Inner => (planes * plane_page, plane_page, planes),
    };
    Strides {
        page,
        plane,
        token,
        head,
        base_bytes: pages * planes_in_buffer * plane_page,
    }
}

/// An engine in memory: buffers of all layers, filled so that every byte tells its place.
struct Engine {
    keys: Vec<Vec<u8>>,
    values: Vec<Vec<u8>>,
}

impl Engine {
    fn new(shape: &Shape, paged: &PagedShape, base_bytes: usize, seed: u64) -> Self {
        let buffer = |number: u64| {
            let mut state = seed.wrapping_add(number).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            (0..base_bytes)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    (state >> 32) as u8
                })
                .collect()
        };
        let separate = paged.planes == Planes::Separate && shape.planes_count == 2;
        Self {
            keys: (0..shape.layers_count).map(buffer).collect(),
            values: (0..if separate { shape.layers_count } else { 0 })
                .map(|layer| buffer(layer + 5000))
                .collect(),
        }
    }

    fn gather<T>(&self, act: impl FnOnce(&Bases<'_, &[u8]>) -> T) -> T {
        let keys: Vec<&[u8]> = self.keys.iter().map(Vec::as_slice).collect();
        let values: Vec<&[u8]> = self.values.iter().map(Vec::as_slice).collect();
        act(&Bases {
            keys: &keys,
            values: &values,
        })
    }

    fn scatter<T>(&mut self, act: impl FnOnce(&mut BasesMut<'_, '_>) -> T) -> T {
        let mut keys: Vec<&mut [u8]> = self.keys.iter_mut().map(Vec::as_mut_slice).collect();
        let mut values: Vec<&mut [u8]> = self.values.iter_mut().map(Vec::as_mut_slice).collect();
        act(&mut BasesMut {
            keys: &mut keys,
            values: &mut values,
        })
    }

    fn buffer(&self, layer: usize, plane: usize) -> &[u8] {
        if plane == 1 && !self.values.is_empty() {
            &self.values[layer]
        } else {
            &self.keys[layer]
        }
    }

    fn buffer_mut(&mut self, layer: usize, plane: usize) -> &mut [u8] {
        if plane == 1 && !self.values.is_empty() {
            &mut self.values[layer]
        } else {
            &mut self.keys[layer]
        }
    }
}

/// Calls `visit(layer, plane, place in the buffer, place in the block)` for every byte of every element of a block.
fn for_each_byte(
    shape: &Shape,
    tokens_per_page: usize,
    strides: Strides,
    table: Table<'_, u32>,
    mut visit: impl FnMut(usize, usize, usize, usize),
) {
    let row = (shape.head_dim * shape.dtype.bytes()) as usize;
    let mut block_place = 0;
    for layer in 0..shape.layers_count as usize {
        for plane in 0..shape.planes_count as usize {
            for token in 0..shape.tokens_per_block as usize {
                let token = table.token_first as usize + token;
                let page = table.pages[token / tokens_per_page] as usize;
                for head in 0..shape.kv_heads_count as usize {
                    for byte in 0..row {
                        let place = page * strides.page
                            + plane * strides.plane
                            + token % tokens_per_page * strides.token
                            + head * strides.head
                            + byte;
                        visit(layer, plane, place, block_place);
                        block_place += 1;
                    }
                }
            }
        }
    }
}

/// Gathers and scatters, whole, by layer, through slices and through pointers, and compares with the loop.
fn check(
    copier: Copier,
    temperature: Temperature,
    shape: &Shape,
    paged_shape: &PagedShape,
    strides: Strides,
    table: Table<'_, u32>,
) {
    let geometry = Geometry::new(shape).unwrap();
    let paged = Paged::new(&geometry, paged_shape).unwrap();
    assert_eq!(paged.base_bytes(), strides.base_bytes);
    let tokens_per_page = paged_shape.tokens_per_page as usize;
    let layers_count = shape.layers_count as usize;
    let mut engine = Engine::new(shape, paged_shape, strides.base_bytes, 1);

    let mut expected = vec![0; geometry.block_bytes()];
    for_each_byte(
        shape,
        tokens_per_page,
        strides,
        table,
        |layer, plane, place, block_place| {
            expected[block_place] = engine.buffer(layer, plane)[place];
        },
    );

    let mut block = vec![GUARD; geometry.block_bytes() + 64];
    engine
        .gather(|bases| paged.gather(copier, temperature, bases, table, &mut block))
        .unwrap();
    assert!(
        block[..expected.len()] == expected,
        "gather {} {paged_shape:?} {table:?}",
        copier.name()
    );
    assert!(block[expected.len()..].iter().all(|&byte| byte == GUARD));

    let mut by_layer = vec![GUARD; geometry.block_bytes()];
    for layer in (0..layers_count).rev() {
        let target = &mut by_layer[geometry.layer_range(layer)];
        engine
            .gather(|bases| paged.gather_layer(copier, temperature, layer, bases, table, target))
            .unwrap();
    }
    assert!(by_layer == expected, "gather by layer {paged_shape:?}");

    let pages_wide: Vec<u64> = table.pages.iter().map(|&page| page.into()).collect();
    let table_wide = Table {
        pages: &pages_wide[..],
        token_first: table.token_first,
    };
    let keys: Vec<*const u8> = engine.keys.iter().map(|buffer| buffer.as_ptr()).collect();
    let values: Vec<*const u8> = engine.values.iter().map(|buffer| buffer.as_ptr()).collect();
    let mut raw = vec![GUARD; geometry.block_bytes()];
    let bases = Bases {
        keys: &keys,
        values: &values,
    };
    // SAFETY: the vectors have `base_bytes` and `block_bytes` bytes, as just asserted.
    unsafe { paged.gather_raw(copier, temperature, &bases, table_wide, raw.as_mut_ptr()) }.unwrap();
    assert!(raw == expected, "gather on pointers {paged_shape:?}");

    let source: Vec<u8> = expected.iter().map(|byte| byte.wrapping_mul(3) ^ 0x5C).collect();
    let mut expected = Engine::new(shape, paged_shape, strides.base_bytes, 1);
    for_each_byte(
        shape,
        tokens_per_page,
        strides,
        table,
        |layer, plane, place, block_place| {
            expected.buffer_mut(layer, plane)[place] = source[block_place];
        },
    );
    engine
        .scatter(|bases| paged.scatter(copier, temperature, &source, bases, table))
        .unwrap();
    assert!(
        engine.keys == expected.keys && engine.values == expected.values,
        "scatter {paged_shape:?} {table:?}"
    );

    let mut engine = Engine::new(shape, paged_shape, strides.base_bytes, 1);
    for layer in 0..layers_count {
        let source = &source[geometry.layer_range(layer)];
        engine
            .scatter(|bases| paged.scatter_layer(copier, temperature, layer, source, bases, table))
            .unwrap();
    }
    assert!(
        engine.keys == expected.keys && engine.values == expected.values,
        "scatter by layer {paged_shape:?}"
    );

    let mut engine = Engine::new(shape, paged_shape, strides.base_bytes, 1);
    let keys: Vec<*mut u8> = engine.keys.iter_mut().map(|buffer| buffer.as_mut_ptr()).collect();
    let values: Vec<*mut u8> = engine.values.iter_mut().map(|buffer| buffer.as_mut_ptr()).collect();
    let bases = Bases {
        keys: &keys,
        values: &values,
    };
    for layer in 0..layers_count {
        let source = source[geometry.layer_range(layer)].as_ptr();
        // SAFETY: the vectors have `base_bytes` bytes, the range `layer_bytes`.
        unsafe { paged.scatter_layer_raw(copier, temperature, layer, source, &bases, table_wide) }.unwrap();
    }
    assert!(
        engine.keys == expected.keys && engine.values == expected.values,
        "scatter on pointers {paged_shape:?}"
    );
}

const SHAPE: Shape = Shape {
    layers_count: 2,
    planes_count: 2,
    kv_heads_count: 3,
    head_dim: 4,
    tokens_per_block: 8,
    dtype: Dtype::F16,
};

/// A page for every part of a block out of nine: some follow one another, some run backwards.
const PAGES: [u32; 8] = [3, 4, 5, 1, 0, 7, 8, 2];

#[test]
fn every_arrangement_against_a_loop_over_elements() {
    for order in [Order::Nhd, Order::Hnd] {
        for planes in [Planes::Separate, Planes::Outer, Planes::Inner] {
            for planes_count in [1, 2] {
                for kv_heads_count in [1, 3] {
                    for tokens_per_page in [1, 2, 4, 8, 16, 24] {
                        let shape = Shape {
                            planes_count,
                            kv_heads_count,
                            ..SHAPE
                        };
                        let paged = PagedShape::dense(9, tokens_per_page, order, planes);
                        let pages = &PAGES[..(8 / tokens_per_page as usize).max(1)];
                        for token_first in (0..tokens_per_page).step_by(8) {
                            for temperature in [Temperature::Hot, Temperature::Cold] {
                                let table = Table { pages, token_first };
                                check(
                                    Copier::detect(),
                                    temperature,
                                    &shape,
                                    &paged,
                                    strides(&shape, &paged),
                                    table,
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn every_element_type_and_copier_at_sizes_that_are_streamed() {
    for copier in Copier::available() {
        for &dtype in Dtype::ALL {
            for (order, planes) in [(Order::Nhd, Planes::Outer), (Order::Hnd, Planes::Inner)] {
                let shape = Shape {
                    head_dim: 136,
                    dtype,
                    ..SHAPE
                };
                let paged = PagedShape::dense(9, 4, order, planes);
                let table = PAGES[..2].into();
                check(
                    copier,
                    Temperature::Cold,
                    &shape,
                    &paged,
                    strides(&shape, &paged),
                    table,
                );
            }
        }
    }
}

#[test]
fn named_shapes_against_a_loop_over_elements() {
    let geometry = Geometry::new(&SHAPE).unwrap();
    for paged in [
        PagedShape::vllm_flash_attention(9, 4),
        PagedShape::flash_infer(9, 4, Order::Nhd),
        PagedShape::flash_infer(9, 4, Order::Hnd),
        PagedShape::sglang(9, 4),
    ] {
        check(
            Copier::detect(),
            Temperature::Auto,
            &SHAPE,
            &paged,
            strides(&SHAPE, &paged),
            PAGES[..2].into(),
        );
    }
    let mla = Shape {
        planes_count: 1,
        kv_heads_count: 1,
        head_dim: 576,
        ..SHAPE
    };
    let paged = PagedShape::vllm_mla(9, 4);
    check(
        Copier::detect(),
        Temperature::Auto,
        &mla,
        &paged,
        strides(&mla, &paged),
        PAGES[..2].into(),
    );

    // [pages, layers, 2, heads, tokens, dim]: a page of one layer is 2 * 3 * 4 * 4 * 2 = 192 bytes of 384.
    let pool = PagedShape::tensorrt_llm_pool(&geometry, 9, 4);
    let layer = strides(&SHAPE, &PagedShape::flash_infer(9, 4, Order::Hnd));
    let layer = Strides {
        page: 384,
        base_bytes: 8 * 384 + 192,
        ..layer
    };
    check(
        Copier::detect(),
        Temperature::Auto,
        &SHAPE,
        &pool,
        layer,
        PAGES[..2].into(),
    );
}

#[test]
fn one_pool_for_all_layers_through_pointers() {
    let geometry = Geometry::new(&SHAPE).unwrap();
    let paged = Paged::new(&geometry, &PagedShape::tensorrt_llm_pool(&geometry, 9, 4)).unwrap();
    let mut pool: Vec<u8> = (0..9 * 384).map(|place| (place % 251) as u8).collect();
    let original = pool.clone();
    let mut block = vec![0; geometry.block_bytes()];
    let bases = [pool.as_mut_ptr(), pool.as_mut_ptr().wrapping_add(192)];
    let bases_const = bases.map(<*mut u8>::cast_const);
    let table: Table<'_, u32> = PAGES[..2].into();
    // SAFETY: both bases have `base_bytes` bytes behind them: 8 * 384 + 192 of 9 * 384, the second from 192 on.
    unsafe {
        let bases_const = Bases {
            keys: &bases_const,
            values: &[],
        };
        paged
            .gather_raw(
                Copier::detect(),
                Temperature::Cold,
                &bases_const,
                table,
                block.as_mut_ptr(),
            )
            .unwrap();
        for page in [3, 4] {
            pool[page * 384..][..384].fill(0);
        }
        let bases = [pool.as_mut_ptr(), pool.as_mut_ptr().wrapping_add(192)];
        let bases = Bases {
            keys: &bases,
            values: &[],
        };
        paged
            .scatter_raw(Copier::detect(), Temperature::Cold, block.as_ptr(), &bases, table)
            .unwrap();
    }
    assert_eq!(pool, original);
}

#[test]
fn padded_strides_leave_the_padding_alone() {
    for order in [Order::Nhd, Order::Hnd] {
        for planes in [Planes::Separate, Planes::Outer, Planes::Inner] {
            for (head_pad, token_pad, page_pad) in [(8, 0, 0), (0, 8, 0), (0, 0, 8), (8, 24, 40)] {
                let dense = strides(&SHAPE, &PagedShape::dense(9, 4, order, planes));
                let (inner, outer) = (8 + head_pad + token_pad, (8 + head_pad + token_pad) * 8);
                let (token, head) = if order == Order::Nhd {
                    (outer, inner)
                } else {
                    (inner, outer)
                };
                let plane_page = outer * 4 + page_pad;
                let (page, plane) = match planes {
                    Planes::Separate => (plane_page, 0),
                    Planes::Outer => (plane_page, plane_page * 9),
                    Planes::Inner => (plane_page * 2, plane_page),
                };
                let last_plane = if planes == Planes::Separate { 0 } else { plane };
                let base_bytes = 8 * page + last_plane + 3 * token + 2 * head + 8;
                assert!(base_bytes >= dense.base_bytes);
                let paged = PagedShape {
                    page_stride_bytes: page as u64,
                    plane_stride_bytes: plane as u64,
                    token_stride_bytes: token as u64,
                    head_stride_bytes: head as u64,
                    ..PagedShape::dense(9, 4, order, planes)
                };
                let strides = Strides {
                    page,
                    plane,
                    token,
                    head,
                    base_bytes,
                };
                check(
                    Copier::detect(),
                    Temperature::Cold,
                    &SHAPE,
                    &paged,
                    strides,
                    PAGES[..2].into(),
                );
            }
        }
    }
}

/// Gathers and scatters with wrong arguments; both must answer `status` and copy nothing.
fn check_refused(
    paged: &Paged,
    engine: &mut Engine,
    block_bytes: usize,
    table: Table<'_, u32>,
    gather_status: Status,
    scatter_status: Status,
) {
    let (copier, temperature) = (Copier::detect(), Temperature::Auto);
    let before = (engine.keys.clone(), engine.values.clone());
    let mut block = vec![GUARD; block_bytes];
    let answer = engine.gather(|bases| paged.gather(copier, temperature, bases, table, &mut block));
    assert_eq!(answer, Err(gather_status));
    assert!(block.iter().all(|&byte| byte == GUARD));
    let answer = engine.scatter(|bases| paged.scatter(copier, temperature, &block, bases, table));
    assert_eq!(answer, Err(scatter_status));
    assert!(before == (engine.keys.clone(), engine.values.clone()));
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_copied() {
    let argument = Status::Argument;
    let geometry = Geometry::new(&SHAPE).unwrap();
    let block_bytes = geometry.block_bytes();
    for planes in [Planes::Separate, Planes::Outer, Planes::Inner] {
        let shape = PagedShape::dense(9, 4, Order::Nhd, planes);
        let paged = Paged::new(&geometry, &shape).unwrap();
        let engine = || Engine::new(&SHAPE, &shape, paged.base_bytes(), 1);
        let fit: Table<'_, u32> = PAGES[..2].into();
        let refused = |engine: &mut Engine, table| {
            check_refused(&paged, engine, block_bytes, table, argument, argument);
        };
        // The last index is wrong: the pages before it must stay as they are.
        refused(&mut engine(), [3, 9][..].into());
        refused(&mut engine(), [3, u32::MAX][..].into());
        for pages in [&PAGES[..0], &PAGES[..1], &PAGES[..3]] {
            refused(&mut engine(), pages.into());
        }
        for token_first in [1, 4, 8, u64::MAX] {
            refused(&mut engine(), Table { token_first, ..fit });
        }
        check_refused(&paged, &mut engine(), block_bytes - 1, fit, Status::TooSmall, argument);
        let mut short = engine();
        short.keys[1].pop();
        refused(&mut short, fit);
        let mut missing = engine();
        missing.keys.pop();
        refused(&mut missing, fit);
        let mut extra = engine();
        extra.values.push(vec![0; paged.base_bytes()]);
        refused(&mut extra, fit);
    }

    // A page that holds two blocks: the part is named by its first token.
    let shape = PagedShape::sglang(9, 16);
    let paged = Paged::new(&geometry, &shape).unwrap();
    for token_first in [1, 4, 12, 16, 24, u64::MAX - 7] {
        let mut engine = Engine::new(&SHAPE, &shape, paged.base_bytes(), 1);
        let table = Table {
            pages: &PAGES[..1],
            token_first,
        };
        check_refused(&paged, &mut engine, block_bytes, table, argument, argument);
    }
}

#[test]
fn a_layer_that_there_is_not_and_null_pointers_are_refused() {
    let (copier, temperature) = (Copier::detect(), Temperature::Auto);
    let geometry = Geometry::new(&SHAPE).unwrap();
    let shape = PagedShape::sglang(9, 4);
    let paged = Paged::new(&geometry, &shape).unwrap();
    let mut engine = Engine::new(&SHAPE, &shape, paged.base_bytes(), 1);
    let mut layer_bytes = vec![GUARD; geometry.layer_bytes()];
    let table: Table<'_, u32> = PAGES[..2].into();
    for layer in [2, usize::MAX] {
        let answer =
            engine.gather(|bases| paged.gather_layer(copier, temperature, layer, bases, table, &mut layer_bytes));
        assert_eq!(answer, Err(Status::Argument));
        let answer =
            engine.scatter(|bases| paged.scatter_layer(copier, temperature, layer, &layer_bytes, bases, table));
        assert_eq!(answer, Err(Status::Argument));
    }
    let short = &mut layer_bytes[1..];
    let answer = engine.gather(|bases| paged.gather_layer(copier, temperature, 0, bases, table, short));
    assert_eq!(answer, Err(Status::TooSmall));

    let base = engine.keys[0].as_mut_ptr();
    let null = core::ptr::null_mut::<u8>();
    for (keys, values, block, status) in [
        ([null, base], [base; 2], base, Status::Null),
        ([base; 2], [base, null], base, Status::Null),
        ([base; 2], [base; 2], null, Status::Null),
    ] {
        let keys_const = keys.map(<*mut u8>::cast_const);
        let values_const = values.map(<*mut u8>::cast_const);
        // SAFETY: nothing is copied: one of the pointers is null.
        unsafe {
            let bases = Bases {
                keys: &keys_const,
                values: &values_const,
            };
            assert_eq!(paged.gather_raw(copier, temperature, &bases, table, block), Err(status));
            let bases = Bases {
                keys: &keys,
                values: &values,
            };
            assert_eq!(
                paged.scatter_raw(copier, temperature, block, &bases, table),
                Err(status)
            );
            let bases = Bases {
                keys: &keys[..1],
                values: &values,
            };
            assert_eq!(
                paged.scatter_raw(copier, temperature, block, &bases, table),
                Err(Status::Argument)
            );
        }
    }
}

prop_compose! {
    fn arrangements()(
        layers_count in 1_u64..4,
        planes_count in 1_u64..=2,
        kv_heads_count in 1_u64..5,
        head_dim in 1_u64..50,
        tokens_power in 0_u32..6,
        page_power in 0_u32..6,
        dtype in proptest::sample::select(Dtype::ALL),
        order in proptest::sample::select(&[Order::Nhd, Order::Hnd][..]),
        planes in proptest::sample::select(&[Planes::Separate, Planes::Outer, Planes::Inner][..]),
        pads in proptest::array::uniform3(proptest::sample::select(&[0_u64, 1, 16, 64][..])),
        pages in Just((0..34_u32).collect::<Vec<_>>()).prop_shuffle(),
        part in any::<proptest::sample::Index>(),
    ) -> (Geometry, Paged, Vec<u32>, u64) {
        let tokens_per_block = 1 << tokens_power;
        let shape = Shape { layers_count, planes_count, kv_heads_count, head_dim, tokens_per_block, dtype };
        let geometry = Geometry::new(&shape).unwrap();
        let (row, tokens_per_page) = (head_dim * dtype.bytes() + pads[0], 1_u64 << page_power);
        let inner = row + pads[1];
        let (token, head) = match order {
            Order::Nhd => (kv_heads_count * row + pads[1], row),
            Order::Hnd => (inner, tokens_per_page * inner),
        };
        let plane = tokens_per_page * kv_heads_count * (inner + pads[1]) + pads[2];
        let paged_shape = PagedShape {
            token_stride_bytes: token,
            head_stride_bytes: head,
            page_stride_bytes: if planes == Planes::Inner { planes_count * plane } else { plane },
            plane_stride_bytes: if planes == Planes::Inner { plane } else { 0 },
            ..PagedShape::dense(34, tokens_per_page, order, planes)
        };
        let paged = Paged::new(&geometry, &paged_shape).unwrap();
        let parts = (tokens_per_page >> tokens_power).max(1) as usize;
        let token_first = (part.index(parts) as u64) << tokens_power;
        (geometry, paged, pages[..paged.pages_per_block()].to_vec(), token_first)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 128 }))]

    /// What is scattered is gathered again, and what is gathered and scattered again changes nothing.
    #[test]
    fn gather_and_scatter_are_inverse((geometry, paged, pages, token_first) in arrangements(), seed: u64) {
        let (shape, table) = (geometry.shape(), Table { pages: &pages[..], token_first });
        let separate = paged.separate() && shape.planes_count == 2;
        let planes = if separate { Planes::Separate } else { Planes::Inner };
        let paged_shape = PagedShape::dense(1, 1, Order::Nhd, planes);
        for copier in Copier::available() {
            let mut engine = Engine::new(shape, &paged_shape, paged.base_bytes(), seed);
            let original = (engine.keys.clone(), engine.values.clone());
            let mut block = vec![GUARD; geometry.block_bytes()];
            engine.gather(|bases| paged.gather(copier, Temperature::Cold, bases, table, &mut block)).unwrap();
            engine.scatter(|bases| paged.scatter(copier, Temperature::Cold, &block, bases, table)).unwrap();
            prop_assert!((&original.0, &original.1) == (&engine.keys, &engine.values));

            let source: Vec<u8> = block.iter().map(|byte| byte.wrapping_add(97)).collect();
            engine.scatter(|bases| paged.scatter(copier, Temperature::Cold, &source, bases, table)).unwrap();
            engine.gather(|bases| paged.gather(copier, Temperature::Cold, bases, table, &mut block)).unwrap();
            prop_assert!(block == source);
            let changed = |now: &[Vec<u8>], then: &[Vec<u8>]| {
                now.iter().flatten().zip(then.iter().flatten()).filter(|(now, then)| now != then).count()
            };
            let changed = changed(&engine.keys, &original.0) + changed(&engine.values, &original.1);
            prop_assert_eq!(changed, geometry.block_bytes());
        }
    }
}
