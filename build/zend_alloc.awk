# What build/php.sh changes in Zend/zend_alloc.c, so that a run's elements are linked when they are freed, not when it is made. Fails
# where the text is another one.
#
# The first of a run's elements that were never used, and their number, are kept for each size: a new run is made when there are
# none, so at most one run of a size has any. Collecting garbage links them, because it counts what is linked.

/^\tzend_mm_free_slot \*free_slot\[ZEND_MM_BINS\];/ {
  print
  print "\tchar              *fresh[ZEND_MM_BINS];     /* elements that were never used */"
  print "\tuint16_t           fresh_count[ZEND_MM_BINS];"
  known++
  next
}

# Both places where a heap is made or made anew.
/^\t+memset\(heap->free_slot, 0, sizeof\(heap->free_slot\)\);$/ {
  print
  sub(/memset.*/, "memset(heap->fresh_count, 0, sizeof(heap->fresh_count));")
  print
  known++
  next
}

/^static zend_never_inline void \*zend_mm_alloc_small_slow\(/ { slow = 1 }

slow && /^\tzend_mm_free_slot \*p, \*end;$/ {
  print ""
  print "\tif (heap->fresh_count[bin_num] > 0) {"
  print "\t\tchar *element = heap->fresh[bin_num];"
  print "\t\theap->fresh[bin_num] += bin_data_size[bin_num];"
  print "\t\theap->fresh_count[bin_num]--;"
  print "\t\treturn element;"
  print "\t}"
  known++
  next
}

slow && /^\t\/\* create a linked list of elements from 1 to last \*\/$/ {
  print "\theap->fresh[bin_num] = (char*)bin + bin_data_size[bin_num];"
  print "\theap->fresh_count[bin_num] = bin_elements[bin_num] - 1;"
  print ""
  known++
  linking = 1
}

slow && /^\t\/\* return first element \*\/$/ {
  slow = linking = 0
  known++
}

linking { next }

/^ZEND_API size_t zend_mm_gc\(/ { collecting = 1 }

collecting && /^\t\thas_free_pages = false;$/ {
  print
  print "\t\tfor (; heap->fresh_count[i] > 0; heap->fresh_count[i]--, heap->fresh[i] += bin_data_size[i]) {"
  print "\t\t\tp = (zend_mm_free_slot*)heap->fresh[i];"
  print "\t\t\tzend_mm_set_next_free_slot(heap, i, p, heap->free_slot[i]);"
  print "\t\t\theap->free_slot[i] = p;"
  print "\t\t}"
  collecting = 0
  known++
  next
}

{ print }

END { exit known != 7 }
