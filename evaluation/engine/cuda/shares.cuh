// Which block attends to which positions of which rows.
//
// `cuda_hear.py` declares before this text: D (width), S (positions of the encoder), HEADS, PAD (values between one
// position and the next), BF16.

constexpr int TILE = 32, TILES = (S + TILE - 1) / TILE;  // of a row: TILE positions each

// The tiles of all rows stand in one sequence, and are divided among the blocks so that each reads as much as the next;
// among fewer blocks where there are few rows, so that a row is not divided among many more than `most`.
struct Plan {
    int blocks, total;

    __device__ Plan(int blocks, int rows, int most)
        : blocks(min(blocks, rows * min(most, TILES))), total(rows * TILES) {}
    __device__ int first(int block) const { return block * total / blocks; }
    __device__ int owner(int tile) const { return ((tile + 1) * blocks - 1) / total; }
};

// What each of the blocks that share a row finds of it. Two pieces of one block are kept apart.
struct Pieces {
    Plan plan;
    int row, from, to;  // the row's number among those that are not done; its first and last block

    __device__ Pieces(const Plan& plan, int row) : plan(plan), row(row) {
        from = plan.owner(row * TILES), to = plan.owner(row * TILES + TILES - 1);
    }
    __device__ int slot(int block) const { return 2 * block + (plan.first(block) < row * TILES); }
};
