/*
 * What contexts have in common. TSRM gives each a copy of PHP's tables, of which a request reads much and writes little: some 1,800
 * constants and 1,200 functions are more than half of what an idle context would hold.
 *
 *   constants           one array for all of an interpreter's: nothing changes one of PHP's own but those that are deprecated
 *   the tables' pages   private mappings of one file in memory, so that a page is a context's own once it writes to it
 *   map pointers        their pages are given back to the system while they are zeros
 *
 * The tables' memory stays malloc's: PHP frees it when a table grows, which it does by moving. A context whose tables are not like
 * the first one's keeps its own.
 */
#include "common.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "zend_constants.h"

/* Contexts of the process that share pages. Each takes four of the system's mappings, of which there are 65,530
   (vm.max_map_count). */
enum { MOST = 4096 };

enum { PAGE = 4096 };

static uint32_t sharing;

struct ssphp_common {
  zend_constant *constants;
  uint32_t nconstants;
  int file;
  char *image;                     /* of the file */
  size_t at[SSPHP_TABLES];         /* where in it a table's pages are */
  size_t size[SSPHP_TABLES];       /* of these, from the table's beginning */
};

enum { CONSTANTS, FUNCTIONS };

/* [fiber; no; no] */
static HashTable *table(int which) { return which == CONSTANTS ? EG(zend_constants) : CG(function_table); }

/* ---- constants ---- */

/* `b` may be no constant: one that is not shared. */
static bool same(const zend_constant *a, const zend_constant *b) {
  if (a->name != b->name || ZEND_CONSTANT_FLAGS(a) != ZEND_CONSTANT_FLAGS(b)) return false;
  if (Z_TYPE_INFO(a->value) != Z_TYPE_INFO(b->value)) return false;
  if (Z_TYPE(a->value) == IS_STRING) return zend_string_equals(Z_STR(a->value), Z_STR(b->value));
  return Z_TYPE(a->value) <= IS_TRUE || Z_LVAL(a->value) == Z_LVAL(b->value);
}

/* While a deprecated one's notice is told, it is marked: that is the request's own business. */
static bool sharable(const zend_constant *constant) { return !(ZEND_CONSTANT_FLAGS(constant) & CONST_DEPRECATED); }

static int sharable_first(Bucket *a, Bucket *b) {
  bool first = sharable(Z_PTR(a->val)), second = sharable(Z_PTR(b->val));
  if (first != second) return first ? -1 : 1;
  return Z_EXTRA(a->val) > Z_EXTRA(b->val) ? 1 : -1; /* else as they were */
}

/* Those that each context has for itself are the last: pages of the table with one among them are not shared. [PHP's thread; no; no] */
static zend_result constants_sort(void) {
  zend_hash_sort(EG(zend_constants), sharable_first, false);
  return SUCCESS;
}

void ssphp_common_open(void) { zend_post_startup_cb = constants_sort; }

/* The first context's become everybody's. [fiber; no; no] */
static void constants_take(struct ssphp_common *common, HashTable *constants) {
  common->constants = calloc(constants->nNumUsed, sizeof(*common->constants));
  if (common->constants == NULL) return;
  common->nconstants = constants->nNumUsed;
  for (uint32_t i = 0; i < common->nconstants; i++) {
    zval *place = &constants->arData[i].val;
    zend_constant *own = Z_PTR_P(place);
    if (!sharable(own)) continue;
    common->constants[i] = *own;
    free(own);
    ZVAL_PTR(place, &common->constants[i]);
  }
}

/* A context's own go where they are the same. [fiber; no; no] */
static void constants_share(const struct ssphp_common *common, HashTable *constants) {
  if (constants->nNumUsed != common->nconstants) return;
  for (uint32_t i = 0; i < common->nconstants; i++) {
    zval *place = &constants->arData[i].val;
    if (!same(Z_PTR_P(place), &common->constants[i])) continue;
    constants->pDestructor(place);
    ZVAL_PTR(place, &common->constants[i]);
  }
}

/* All go. [fiber; no; no] */
static void constants_leave(const struct ssphp_common *common, HashTable *constants) {
  for (uint32_t i = 0; i < constants->nNumUsed; i++) {
    zval *place = &constants->arData[i].val;
    if (i >= common->nconstants || Z_PTR_P(place) != &common->constants[i]) constants->pDestructor(place);
  }
  constants->nNumUsed = constants->nNumOfElements = 0;
}

/* ---- pages ---- */

/* [any thread; no; no] */
void ssphp_pages_discard(void *bytes, size_t size) {
  char *begin = (char *)ZEND_MM_ALIGNED_SIZE_EX((uintptr_t)bytes, PAGE);
  size_t before = (size_t)(begin - (char *)bytes);
  if (size >= before + PAGE) madvise(begin, (size - before) / PAGE * PAGE, MADV_DONTNEED);
}

/* Moves a table to the beginning of a page. [fiber; no; no] */
static bool align(HashTable *ht) {
  void *own = HT_GET_DATA_ADDR(ht);
  if ((uintptr_t)own % PAGE == 0) return true;
  size_t size = HT_SIZE_EX(ht->nTableSize, ht->nTableMask);
  void *aligned = aligned_alloc(PAGE, ZEND_MM_ALIGNED_SIZE_EX(size, PAGE));
  if (aligned == NULL) return false;
  memcpy(aligned, own, HT_USED_SIZE(ht));
  HT_SET_DATA_ADDR(ht, aligned);
  ssphp_pages_discard(own, size); /* it would be part of what somebody else hardly uses */
  free(own);
  return true;
}

/* Writes the first context's tables down. [fiber; no; no] */
static void image_make(struct ssphp_common *common) {
  size_t all = 0;
  for (int i = 0; i < SSPHP_TABLES; i++) {
    common->at[i] = all;
    common->size[i] = HT_USED_SIZE(table(i)) / PAGE * PAGE;
    all += common->size[i];
  }
  common->file = memfd_create("sidestack-php", MFD_CLOEXEC);
  if (common->file < 0 || ftruncate(common->file, (off_t)all) != 0) return;
  char *image = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_SHARED, common->file, 0);
  if (image == MAP_FAILED) return;
  for (int i = 0; i < SSPHP_TABLES; i++) memcpy(image + common->at[i], HT_GET_DATA_ADDR(table(i)), common->size[i]);
  common->image = image;
}

/* [fiber; no; no] */
static void pages_share(const struct ssphp_common *common, ssphp_context *context, int which) {
  char *pages = HT_GET_DATA_ADDR(table(which)), *image = common->image + common->at[which];
  size_t size = common->size[which];
  if (HT_USED_SIZE(table(which)) < size) return;
  char *own = malloc(size);
  if (own == NULL) return;
  memcpy(own, pages, size);
  if (mmap(pages, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, common->file, (off_t)common->at[which]) == pages) {
    context->pages[which] = pages;
    for (size_t at = 0; at < size; at += PAGE)
      if (memcmp(own + at, image + at, PAGE) != 0) memcpy(pages + at, own + at, PAGE);
  }
  free(own);
}

/* They are as other memory of malloc's again; what was in them is lost. [fiber; no; no] */
static void pages_leave(const struct ssphp_common *common, const ssphp_context *context, int which) {
  /* A table that has grown has left them to malloc. */
  if (context->pages[which] != HT_GET_DATA_ADDR(table(which))) return;
  mmap(context->pages[which], common->size[which], PROT_READ | PROT_WRITE,
       MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

/* ---- map pointers ---- */

static bool zeros(const char *bytes, size_t size) { return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0; }

/* [fiber; no; no] */
static void zeros_discard(void) {
  char *begin = CG(map_ptr_real_base), *end = begin + zend_map_ptr_static_size * sizeof(void *);
  begin = (char *)ZEND_MM_ALIGNED_SIZE_EX((uintptr_t)begin, PAGE);
  for (; begin + PAGE <= end; begin += PAGE) {
    if (!zeros(begin, PAGE) || madvise(begin, PAGE, MADV_DONTNEED) != 0) continue;
    /* Where a table has left its pages to malloc, they show again. */
    if (!zeros(begin, PAGE)) memset(begin, 0, PAGE);
  }
}

/* ---- contexts ---- */

/* [fiber; no; no] */
static struct ssphp_common *common_new(void) {
  struct ssphp_common *common = calloc(1, sizeof(*common));
  if (common == NULL) return NULL;
  common->file = -1;
  constants_take(common, EG(zend_constants));
  for (int i = 0; i < SSPHP_TABLES; i++)
    if (!align(table(i))) return common;
  image_make(common);
  return common;
}

/* [fiber; no; no] */
void ssphp_common_share(ssphp_context *context) {
  struct ssphp_common *common = context->home->common;
  zeros_discard();
  if (common == NULL)
    common = context->home->common = common_new(); /* it is the first one */
  else
    constants_share(common, EG(zend_constants));
  if (common == NULL || common->image == NULL) return;
  if (__atomic_add_fetch(&sharing, 1, __ATOMIC_RELAXED) > MOST) {
    __atomic_sub_fetch(&sharing, 1, __ATOMIC_RELAXED);
    return;
  }
  context->shares = 1;
  for (int i = 0; i < SSPHP_TABLES; i++)
    if (align(table(i))) pages_share(common, context, i);
}

/* [fiber; no; no] */
void ssphp_common_leave(ssphp_context *context) {
  const struct ssphp_common *common = context->home->common;
  if (common == NULL) return;
  if (context->shares) __atomic_sub_fetch(&sharing, 1, __ATOMIC_RELAXED);
  constants_leave(common, EG(zend_constants));
  pages_leave(common, context, CONSTANTS);
  /* TSRM does not look into the table of functions while there are no more than it copied. */
  if (zend_hash_num_elements(CG(function_table)) <= CG(copied_functions_count)) pages_leave(common, context, FUNCTIONS);
}

/* [interpreter thread; no; no] */
void ssphp_common_free(struct ssphp_common *common) {
  if (common == NULL) return;
  if (common->image != NULL) munmap(common->image, common->at[SSPHP_TABLES - 1] + common->size[SSPHP_TABLES - 1]);
  if (common->file >= 0) close(common->file);
  for (uint32_t i = 0; i < common->nconstants; i++) zval_internal_ptr_dtor(&common->constants[i].value);
  free(common->constants);
  free(common);
}
